"""One store of several is away, or answers late: what was done stays done, is told as done, and happens once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, SerializationError, TaskFailed, TaskStatus
from omniq.backends.sqlite import SQLiteDriver
from omniq.core.settlement import Succeeded
from omniq.errors import StoreUnavailableError
from omniq.models.record import Insert, Replace
from omniq.storage.driver import Driver

from tests.conftest import Until

LARGE = "x" * 5000


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[AsyncOmniQ]:
    stores = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("queue", "results", "events", "large_values")}
    async with AsyncOmniQ(
        **stores, schedules=stores["queue"], large_value_bytes=1000, poll_interval=0.1, retry_delay=0
    ) as app:
        yield app


class Outage:
    """Calls of one method of a driver fail as long as a condition holds."""

    def __init__(self, patch: pytest.MonkeyPatch, driver: Driver, method: str) -> None:
        self.failed = 0
        self.when: Callable[[Any], bool] = lambda _: True
        call = getattr(driver, method)

        async def perhaps(argument: Any, *rest: Any, **named: Any) -> Any:
            if self.when(argument):
                self.failed += 1
                raise StoreUnavailableError(driver.url)
            return await call(argument, *rest, **named)

        patch.setattr(driver, method, perhaps)

    def end(self) -> None:
        self.when = lambda _: False


async def test_tasks_go_on_without_their_events_which_follow_once(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    @app.task
    async def work() -> None: ...

    parts = await app._ready()
    outage = Outage(monkeypatch, parts.events.driver, "write")
    tasks = [await work.enqueue() for _ in range(6)]
    waiting = await work.options(delay=60).enqueue()
    await waiting.cancel()
    await app.queues.move("default", "other")
    async with app.workers(concurrency=2) as pool:
        await pool.drain()
        assert (await app.stats()).totals == {"succeeded": 6, "cancelled": 1}
        assert outage.failed > 6
        assert len([each for each in caplog.messages if "events are kept" in each]) == 1
        outage.end()

        async def are_there() -> bool:
            return len(await app.events(types="task.succeeded")) == 6

        await until(are_there)
    for task in tasks:
        history = (await app.events(task_id=task.id))["event_type"].to_list()
        assert sorted(history) == ["task.enqueued", "task.moved", "task.started", "task.succeeded"]
    assert (await app.events(task_id=waiting.id))["event_type"].to_list() == ["task.enqueued", "task.cancelled"]


async def test_leases_are_kept_while_another_store_can_not_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    stores = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("queue", "results", "events")}
    opened, is_away = SQLiteDriver.open, False

    async def perhaps(driver: SQLiteDriver) -> None:
        if is_away and driver.path.name != "queue.db":
            raise StoreUnavailableError(driver.url)
        await opened(driver)

    monkeypatch.setattr(SQLiteDriver, "open", perhaps)
    began: list[int] = []
    async with AsyncOmniQ(**stores, schedules=stores["queue"], lease=2, poll_interval=0.1) as app:

        @app.task(max_retries=0)
        async def work() -> int:
            began.append(1)
            await asyncio.sleep(5)
            return 1

        is_away = True  # for the heartbeat, which opens its own
        handle = await work.enqueue()
        async with app.workers():
            assert await handle == 1
            assert began == [1]
            is_away = False

            async def has_reported() -> bool:
                return len(await app.events(types="worker.started")) == 1

            await until(has_reported)


async def test_events_whose_store_is_closed_meanwhile_are_told_of_once_and_leave_nothing(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver, asked, answer = (await app._ready()).events.driver, asyncio.Event(), asyncio.Event()

    async def write(_: Any) -> list[bool]:
        asked.set()
        await answer.wait()
        raise StoreUnavailableError(driver.url)

    monkeypatch.setattr(driver, "write", write)
    enqueuing = asyncio.create_task(app.enqueue("work"))
    await asked.wait()
    monkeypatch.undo()
    await app.close()
    answer.set()
    await enqueuing
    await asyncio.sleep(1.2)  # a later try would come after a second
    assert [each for each in caplog.messages if "lost" in each or "asyncio" in each] == [
        "1 events could not be written before the end, and are lost: their store was closed"
    ]
    assert "Traceback" not in caplog.text


async def test_events_whose_store_does_not_answer_hold_nobody_up_and_follow(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    @app.task
    async def work() -> int:
        return 1

    driver, answer = (await app._ready()).events.driver, asyncio.Event()
    write = driver.write

    async def late(ops: Any) -> list[bool]:
        await answer.wait()
        return await write(ops)

    monkeypatch.setattr(driver, "write", late)
    async with app.workers():
        assert await (await work.enqueue()) == 1
    answer.set()

    async def are_there() -> bool:
        return len(await app.events()) >= 3

    await until(are_there)
    assert sorted((await app.events(types="task.*"))["event_type"]) == [
        "task.enqueued",
        "task.started",
        "task.succeeded",
    ]


async def test_a_worker_s_life_has_its_events_however_short_it_is(app: AsyncOmniQ, until: Until) -> None:
    async def is_there() -> bool:
        return len((await app.stats()).workers) == 1

    for _ in range(3):
        async with app.workers():
            await until(is_there)
    types = (await app.events(types="worker.*"))["event_type"].to_list()
    assert types == ["worker.started", "worker.stopped"] * 3


async def test_an_app_whose_events_have_no_store_can_be_closed_and_tells_of_them(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Outage(monkeypatch, (await app._ready()).events.driver, "write")
    await app.enqueue("work")
    await app.close()
    (lost,) = (each for each in caplog.messages if "are lost" in each)
    assert lost.startswith("1 events could not be written before the end")


async def test_a_worker_that_cannot_write_results_takes_no_end_of_tasks(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    @app.task
    async def work(n: int) -> int:
        return n

    outage = Outage(monkeypatch, (await app._ready()).results.driver, "write")
    group = await work.map(range(1500))
    async with app.workers(concurrency=10) as pool:

        async def are_held_up() -> bool:
            return (await app.stats()).totals.get("running", 0) >= 1000

        await until(are_held_up)
        failed = outage.failed
        await until(lambda: outage.failed > failed)
        assert (await app.stats()).totals["pending"] >= 480
        outage.end()
        await pool.drain()
    assert await group == list(range(1500))


async def test_a_worker_that_drains_waits_for_a_store_that_is_away(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task
    async def work() -> int:
        return 1

    outage = Outage(monkeypatch, (await app._ready()).queue.driver, "count")
    outage.when = lambda _: outage.failed < 2
    handle = await work.enqueue()
    async with app.workers() as pool:
        await pool.drain()
    assert outage.failed == 2
    assert await handle == 1


async def test_a_worker_can_be_stopped_while_results_have_no_store(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    began = 0

    @app.task
    async def work() -> int:
        nonlocal began
        began += 1
        return 1

    outage = Outage(monkeypatch, (await app._ready()).results.driver, "write")
    handle = await work.enqueue()
    async with app.workers() as pool:
        await until(lambda: outage.failed > 0)
        await pool.stop(grace=0.5)
    assert [each for each in caplog.messages if "what came of 1 tasks" in each]
    assert caplog.text.count("Traceback") == 0
    assert began == 1
    outage.end()
    assert await handle.status() is TaskStatus.RUNNING, "until its lease ends"


async def test_what_is_refused_does_not_hold_up_what_was_claimed_with_it(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task
    async def work() -> int:
        return 1

    expired = await work.options(ttl=0.01).enqueue()
    good = [await work.enqueue() for _ in range(3)]
    await asyncio.sleep(0.05)
    outage = Outage(monkeypatch, (await app._ready()).queue.driver, "write")
    outage.when = lambda ops: any(type(op) is Replace and op.record.state == "expired" for op in ops)
    async with app.workers():
        assert [await each for each in good] == [1, 1, 1]
    assert outage.failed == 1
    assert await expired.status() is TaskStatus.RUNNING, "it comes again when its lease ends"


async def test_a_large_argument_that_cannot_be_had_yet_spends_no_try(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(max_retries=0)
    async def measure(text: str) -> int:
        return len(text)

    large = (await app._ready()).large
    assert large is not None
    handle = await measure.enqueue(LARGE)
    outage = Outage(monkeypatch, large.driver, "get")
    outage.when = lambda _: outage.failed == 0
    async with app.workers():
        assert await handle == len(LARGE)
    assert (await handle.task()).attempt == 1


async def test_purging_spares_what_a_replayed_task_needs(app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task
    async def measure(text: str) -> int:
        return len(text)

    handle = await measure.enqueue(LARGE)
    await handle.cancel()
    queue = (await app._ready()).queue
    delete = queue.delete

    async def replay_before(tasks: Any) -> int:
        await handle.retry()
        return await delete(tasks)

    monkeypatch.setattr(queue, "delete", replay_before)
    assert await app.purge(status="cancelled") == 0
    async with app.workers():
        assert await handle == len(LARGE)


# --- an id that is used again ---


async def test_a_late_worker_s_result_is_not_taken_for_that_of_a_later_task_of_the_same_name(app: AsyncOmniQ) -> None:
    @app.task
    async def echo(text: str) -> str:
        return text

    parts = await app._ready()
    await echo.options(task_id="daily").enqueue("old")
    (old,) = await parts.queue.claim("slow", 1, 30_000_000)
    await app.cancel_task("daily")
    await app.purge()
    again = await echo.options(task_id="daily").enqueue("new")
    outcome = Succeeded(parts.serializer.dumps("OLD"))
    assert not await parts.queue.settle(old, outcome, worker="slow", started_at=1)
    async with app.workers():
        assert await again == "new"
    assert (await app.get_result("daily")) is not None


async def test_a_large_argument_that_was_left_behind_is_not_taken_for_another_s(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(task_id="daily")
    async def first_letter(text: str) -> str:
        return text[0]

    outage = Outage(monkeypatch, (await app._ready()).queue.driver, "write")
    outage.when = lambda ops: any(type(op) is Insert for op in ops)
    with pytest.raises(StoreUnavailableError):
        await first_letter.enqueue("m" + LARGE)
    outage.end()
    handle = await first_letter.enqueue("t" + LARGE)
    async with app.workers():
        assert await handle == "t"


# --- handles ---


async def test_a_handle_awaited_after_a_replay_gets_the_later_outcome(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    @app.task(max_retries=0)
    async def flawed() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise SerializationError("first")
        return "second"

    handle = await flawed.enqueue()
    results = (await app._ready()).results
    outcomes, looked, answer = results.outcomes, asyncio.Event(), asyncio.Event()

    async def slowly(ids: Any) -> Any:
        found = await outcomes(ids)
        if len(calls) == 1 and not looked.is_set() and getattr(found[0], "result", None) is not None:
            looked.set()
            await answer.wait()
        return found

    monkeypatch.setattr(results, "outcomes", slowly)
    async with app.workers():
        before = asyncio.ensure_future(handle.result())
        await looked.wait()
        await handle.retry()
        after = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0)
        answer.set()
        with pytest.raises(TaskFailed, match="first"):
            await before
        assert await after == "second"
