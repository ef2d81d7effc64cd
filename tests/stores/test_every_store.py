"""The same code on every store: tasks, workers in a process of their own, retries, cancelling, pausing, events."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, OmniQ, TaskCancelled, TaskFailed, TaskStatus
from omniq.models.record import Filter
from omniq.models.result import RESULT
from omniq.models.task import TASK
from omniq.storage.large import VALUE
from omniq.storage.maintenance import Maintenance


@pytest.fixture
async def app(make_app: Any, url: str) -> AsyncOmniQ:
    app: AsyncOmniQ = make_app(url)
    await app.open()
    return app


async def test_tasks_run_in_another_process_and_their_results_come_back(
    app: AsyncOmniQ, url: str, children: Any
) -> None:
    @app.task
    def square(n: int) -> int:
        return n * n

    children.worker(url)
    assert await (await square.map(range(200))) == [n * n for n in range(200)]
    frame = await app.events(types="task.succeeded")
    assert len(frame) == frame["task_id"].n_unique() == 200
    assert (await app.stats()).totals == {"succeeded": 200}


async def test_failures_are_retried_and_then_dead_letters_that_can_be_replayed(app: AsyncOmniQ) -> None:
    tries: list[int] = []

    @app.task(max_retries=2, retry_delay=0)
    async def fail() -> str:
        tries.append(1)
        if len(tries) < 5:
            raise ValueError("not yet")
        return "at last"

    handle = await fail.enqueue()
    async with app.workers():
        with pytest.raises(TaskFailed, match="not yet"):
            await handle
        assert len(tries) == 3
        assert [task.id for task in (await app.dead_letters()).tasks] == [handle.id]
        await handle.retry()
        assert await handle == "at last"
    assert len(tries) == 5


async def test_running_task_is_cancelled(app: AsyncOmniQ, make_app: Any, url: str, until: Any) -> None:
    began: list[bool] = []

    @app.task
    async def hang() -> None:
        began.append(True)
        await asyncio.sleep(600)

    async with app.workers():
        handle = await hang.enqueue()
        await until(lambda: began)
        await make_app(url).cancel_task(handle.id)
        with pytest.raises(TaskCancelled):
            await handle


async def test_priority_holds_across_queues_and_paused_ones_rest(app: AsyncOmniQ, until: Any) -> None:
    order: list[str] = []

    @app.task
    async def note(name: str) -> None:
        order.append(name)

    for name, queue, priority in (("c", "low", 0), ("b", "high", 0), ("a", "low", 9), ("d", "shut", 99)):
        await note.options(queue=queue, priority=priority).enqueue(name)
    await app.pause_queue("shut")
    async with app.workers(concurrency=1, queues=["high", "low", "shut"]):
        await until(lambda: len(order) == 3)
        assert order == ["a", "b", "c"]
        await app.resume_queue("shut")
        await until(lambda: len(order) == 4)


async def test_delayed_tasks_wait_and_expired_ones_do_not_run(app: AsyncOmniQ) -> None:
    @app.task
    async def now() -> float:
        return time.time()

    late = await now.options(delay=0.6).enqueue()
    never = await now.options(delay=0.2, ttl=0.001).enqueue()
    began = time.time()
    async with app.workers():
        assert await late >= began + 0.5
        assert await never.status() is TaskStatus.EXPIRED


async def test_results_and_tasks_go_when_their_time_is_over(app: AsyncOmniQ, until: Any) -> None:
    @app.task(result_ttl=0.05)
    async def one() -> int:
        return 1

    async with app.workers():
        await (await one.enqueue()).wait()
    parts = await app._ready()
    maintenance = Maintenance(parts.queue, parts.results.driver, parts.events.driver)

    async def all_are_gone() -> bool:
        await maintenance.sweep()
        return not (await app.list_tasks()).tasks

    await until(all_are_gone)
    assert (await app.stats()).totals == {}


async def test_waiting_for_a_result_is_pushed(app: AsyncOmniQ, url: str, children: Any, make_app: Any) -> None:
    """With a poll interval that is longer than the test may take."""
    if not (await app._ready()).queue.driver.capabilities.pushes:
        pytest.skip("the store can't push")
    waiting: AsyncOmniQ = make_app(url, poll_interval=100)

    @waiting.task
    async def one() -> int:
        return 1

    children.worker(url)
    await (await one.enqueue())
    async with asyncio.timeout(60):
        for _ in range(10):
            assert await (await one.enqueue()) == 1


async def _noticed(app: AsyncOmniQ, queue: str, until: Any) -> None:
    """Wait until the workers know that a queue is paused: they take a later task, and leave one of this queue alone."""

    async def is_left_alone() -> bool:
        left = await app.enqueue("one", queue=queue)
        await (await app.enqueue("one"))
        return await left.status() is TaskStatus.PENDING

    await until(is_left_alone)


@pytest.fixture
async def far(app: AsyncOmniQ, url: str, children: Any) -> AsyncOmniQ:
    """The app, with a worker in another process that hears of changes by the store alone, and finds nothing by polling.

    Its poll interval is longer than a test may take, also where the store can't push: as nobody tells it of queues that
    are paused or resumed there, a worker looks for them once a second by itself.
    """

    @app.task
    async def one() -> int:
        return 1

    @app.task
    async def hang() -> None:
        await asyncio.sleep(600)

    # A heartbeat writes, which may be a hint.
    children.worker(url, OMNIQ_POLL_INTERVAL="100", OMNIQ_LEASE="300", OMNIQ_HEARTBEAT="100")
    await (await one.enqueue())
    return app


async def test_resumed_queue_goes_on_at_once(far: AsyncOmniQ, until: Any) -> None:
    await _goes_on_at_once(far, until)
    hung = await far.enqueue("hang")
    await until(lambda: _is_running(hung))
    await _goes_on_at_once(far, until)
    await hung.cancel()


async def _goes_on_at_once(app: AsyncOmniQ, until: Any) -> None:
    for lets_it_be_noticed in (True, False):
        await app.queues.pause("io")
        if lets_it_be_noticed:
            await _noticed(app, "io", until)  # so the worker has read a moment ago what is paused
        handle = await app.enqueue("one", queue="io")
        await app.queues.resume("io")
        async with asyncio.timeout(60):
            assert await handle == 1


async def _is_running(handle: Any) -> bool:
    return await handle.status() is TaskStatus.RUNNING


async def test_busy_worker_begins_nothing_of_a_queue_that_it_knows_to_be_paused(far: AsyncOmniQ, until: Any) -> None:
    @far.task
    async def before_resuming() -> None: ...

    hung = await far.enqueue("hang")
    await until(lambda: _is_running(hung))
    early = [await far.enqueue("one", queue="io") for _ in range(5)]
    await far.queues.pause("io")
    await _noticed(far, "io", until)
    for _ in range(5):
        early.append(await far.enqueue("one", queue="io"))
        await (await before_resuming.enqueue())
    await far.queues.resume("io")
    for each in early:
        assert await each == 1
    # In the order in which the worker began them, by its own clock.
    began = await far.events(types="task.started")
    queues, marks = began["queue"].to_list(), [n for n, func in enumerate(began["func"]) if func == "before_resuming"]
    assert len(marks) == 5
    assert "io" not in queues[marks[0] : marks[-1]]
    assert queues[marks[-1] :].count("io") >= 5
    await hung.cancel()


async def test_whole_queues(make_app: Any, url: str) -> None:
    app: AsyncOmniQ = make_app(url, routes={"report_*": "slow"})

    @app.task
    async def report_sales() -> int:
        return 1

    @app.task(max_retries=0)
    async def fail() -> None:
        raise ValueError

    routed, other = await report_sales.enqueue(), await fail.enqueue()
    await app.queues.pause("shut")
    assert await app.queues.names() == ["default", "shut", "slow"]
    assert await app.queues.move("slow", "shut") == 1
    async with app.workers() as pool:
        await other.wait()
        await pool.drain()
        assert (await routed.task()).queue == "shut"
        shut, rest = await app.queues.stats("shut"), await app.queues.stats("default")
        assert (shut.paused, shut.counts, shut.ended) == (True, {TaskStatus.PENDING: 1}, 0)
        assert (rest.paused, rest.counts, rest.ended, rest.failed) == (False, {TaskStatus.FAILED: 1}, 1, 1)
        assert shut.oldest == (await routed.task()).created_at
        await app.queues.resume("shut")
        assert await routed == 1
    assert await app.queues.purge("default") == 0
    assert await app.queues.purge("default", status="failed") == 1
    assert await app.queues.purge("shut") == 1
    assert await app.queues.names() == []


async def test_large_values_are_elsewhere_and_go_with_their_task(make_app: Any, url: str, tmp_path: Path) -> None:
    app: AsyncOmniQ = make_app(url, large_values=f"file:///{tmp_path}/large", large_value_bytes=1000)

    @app.task
    async def double(text: str) -> str:
        return text * 2

    async with app.workers():
        large, small = await double.enqueue("x" * 5000), await double.enqueue("x")
        assert (await large, await small) == ("x" * 10_000, "xx")
    parts = await app._ready()
    assert parts.large is not None
    values = parts.large.driver
    stored = (await values.scan(Filter(kind=VALUE))).records
    assert [record.key for record in stored] == [f"{large.id}.1", f"{large.id}.arguments"]
    here = await parts.queue.driver.get([(TASK, large.id), (RESULT, f"{large.id}.1")])
    assert all(record is not None and len(record.body) < 1000 for record in here)
    assert await app.purge() == 2
    assert (await values.scan(Filter(kind=VALUE))).records == []


async def test_health(app: AsyncOmniQ) -> None:
    health = await app.health()
    assert health.ok
    assert all(each.backend and each.latency is not None for each in health.components)


def test_the_same_without_await(url: str, tmp_path: Path) -> None:
    with OmniQ(url) as app:

        @app.task
        def double(n: int) -> int:
            return 2 * n

        with app.workers():
            assert double.map([1, 2, 3]).results() == [2, 4, 6]
