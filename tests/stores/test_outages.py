"""Servers that are killed, connections that are cut: no task is lost, none is completed twice, workers go on."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from omniq import AsyncOmniQ, StoreError, TaskStatus
from omniq.errors import StoreUnavailableError
from omniq.storage import breaker
from omniq.storage.breaker import TRIES, Breaker

from tests.servers.proxy import Proxy

from .conftest import NOBODY, Restartable

TASKS, PLACES = 300, 10


def _work(app: AsyncOmniQ) -> Any:
    @app.task(max_retries=0)
    async def work(n: int) -> int:
        await asyncio.sleep(0.01)
        return n

    return work


class Gate:
    """Lets so many tasks end, and holds the others: whatever happens, happens in the middle of them."""

    def __init__(self) -> None:
        self.inside = self.ended = self.may_end = 0

    async def hold(self) -> None:
        self.inside += 1
        try:
            while self.ended >= self.may_end:
                await asyncio.sleep(0.005)
            self.ended += 1
        finally:
            self.inside -= 1

    def holds_all(self) -> bool:
        """All that may have ended, and all places are taken by tasks that are held."""
        return self.ended == self.may_end and self.inside == PLACES


# What `hold` uses: it is a function of a module that can be imported, so it shares this process's objects.
_gates: list[Gate] = []


async def hold(n: int) -> int:
    await _gates[-1].hold()
    return n


@pytest.fixture
def gate() -> Iterator[Gate]:
    """For the tasks of one test."""
    _gates.append(Gate())
    yield _gates[-1]
    _gates.pop()


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[StoreUnavailableError]:
    """Each call that did not get through, also if it did when it was repeated."""
    failures: list[StoreUnavailableError] = []
    failed = Breaker.failed

    def noted(breaker: Breaker, error: StoreUnavailableError) -> None:
        failures.append(error)
        failed(breaker, error)

    monkeypatch.setattr(Breaker, "failed", noted)
    return failures


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """However it goes, no traceback is in the log, and no task fails that nobody asks how it went."""
    yield
    gc.collect()  # asyncio tells of such a task when it goes
    said = [record for phase in ("call", "teardown") for record in caplog.get_records(phase)]
    assert [record.getMessage() for record in said if record.name == "asyncio" or record.exc_info] == []
    assert "Traceback" not in caplog.text


async def _assert_each_ended_once(app: AsyncOmniQ, group: Any) -> None:
    assert (await app.stats()).totals == {"succeeded": len(group)}
    frame = await app.events(types="task.succeeded")
    completions = Counter(frame["task_id"].to_list())
    assert set(completions) <= {handle.id for handle in group}
    assert max(completions.values()) == 1, "a completion was accepted twice"


NOTICED, OVER = "tries until it can", "its store is back after"


async def test_a_killed_server_comes_back(
    own_server: Restartable,
    make_app: Any,
    until: Any,
    gate: Gate,
    failures: list[StoreUnavailableError],
    caplog: Any,
) -> None:
    caplog.set_level("INFO", logger="omniq")
    app: AsyncOmniQ = make_app(own_server.url, lease=5)
    await app.open()
    group = await app.task(max_retries=0)(hold).map(range(TASKS))
    async with app.workers(concurrency=PLACES):
        for _ in range(2):
            gate.may_end += 100
            await until(gate.holds_all)
            failed, noticed = len(failures), caplog.text.count(NOTICED)
            await own_server.kill()
            gate.may_end += PLACES  # nobody is there to take their outcomes
            await until(lambda f=failed: len(failures) >= f + TRIES)
            await until(lambda n=noticed: caplog.text.count(NOTICED) > n)
            await own_server.start()
            # All of the worker goes on, its heartbeats too: else the leases of the tasks that are held would end.
            await until(lambda: caplog.text.count(OVER) == caplog.text.count(NOTICED))
        gate.may_end = 2 * TASKS
        assert await group == list(range(TASKS))
    await _assert_each_ended_once(app, group)
    # One line for each outage and each of the worker's concerns at most, not one for each task.
    assert len([each for each in caplog.records if each.levelname == "ERROR" and each.name == "omniq"]) < 20


async def test_connections_are_cut_again_and_again(
    own_server: Restartable, make_app: Any, until: Any, gate: Gate, failures: list[StoreUnavailableError]
) -> None:
    async with Proxy(own_server.port) as proxy:
        through = own_server.through(proxy.port)
        app: AsyncOmniQ = make_app(through, lease=5)
        await app.open()
        group = await app.task(max_retries=0)(hold).map(range(TASKS))
        async with app.workers(concurrency=PLACES):
            for _ in range(5):
                gate.may_end += 40
                await until(gate.holds_all)
                before = proxy.held
                proxy.stalls = True  # so that the cut meets calls that are under way
                gate.may_end += PLACES
                await until(lambda before=before: gate.ended == gate.may_end and proxy.held > before)
                proxy.cut()
                proxy.stalls = False
            gate.may_end = 2 * TASKS
            assert await group == list(range(TASKS))
        assert failures or own_server.repeats, "no cut met a call"
        await _assert_each_ended_once(app, group)
        await app.close()


async def test_answers_that_never_come(
    own_server: Restartable, make_app: Any, until: Any, gate: Gate, failures: list[StoreUnavailableError]
) -> None:
    """The server carries writes out, and the connection breaks before it has said so."""
    async with Proxy(own_server.port) as proxy:
        through = own_server.through(proxy.port)
        app: AsyncOmniQ = make_app(through, lease=5)
        await app.open()
        group = await app.task(max_retries=0)(hold).map(range(TASKS))
        async with app.workers(concurrency=PLACES):
            for _ in range(3):
                gate.may_end += 80
                await until(gate.holds_all)
                before = proxy.swallowed
                proxy.swallows_answers = True
                gate.may_end += PLACES
                await until(lambda before=before: gate.ended == gate.may_end and proxy.swallowed > before)
                proxy.cut()
                proxy.swallows_answers = False
            gate.may_end = 2 * TASKS
            assert await group == list(range(TASKS))
        assert any(error.sent for error in failures) or own_server.repeats, "no answer was lost"
        await _assert_each_ended_once(app, group)
        await app.close()


async def test_a_worker_and_its_app_can_be_closed_while_their_store_is_away(
    own_server: Restartable, make_app: Any, until: Any, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """What came of its task can't be written, so that it runs again when its lease ends."""
    app: AsyncOmniQ = make_app(own_server.url, lease=3)
    await app.open()
    handle = await app.task(max_retries=0)(hold).enqueue(1)
    async with app.workers(concurrency=PLACES) as pool:
        await until(lambda: gate.inside == 1)
        await own_server.kill()
        gate.may_end = 2
        await until(lambda: gate.ended == 1 and NOTICED in caplog.text)
        async with asyncio.timeout(60):
            await pool.stop(grace=0.5)
            await app.close()
    assert "ends before what came of 1 tasks could be written" in caplog.text
    await own_server.start()
    another: AsyncOmniQ = make_app(own_server.url, lease=3)
    another.task(hold)
    async with another, another.workers():
        assert await another.handle(handle.id).result(60) == 1
    assert gate.ended == 2


async def test_a_store_that_is_away_is_one_clear_line(
    own_server: Restartable, make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "LONGEST_PAUSE", 0.5)  # of five seconds, some of which pass before an error and after
    async with Proxy(own_server.port) as proxy:
        through = own_server.through(proxy.port)
        app: AsyncOmniQ = make_app(through)
        await app.open()
        handle = await app.enqueue("f")
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(StoreError, match="can't be reached") as caught:
            await app.enqueue("f")
        assert "\n" not in str(caught.value)
        health = await app.health(timeout=3)
        assert not health.ok
        proxy.refuses = False
        for _ in range(100):
            try:
                assert await handle.status() is TaskStatus.PENDING
                break
            except StoreError:
                await asyncio.sleep(0.1)
        else:
            pytest.fail("the store is back, and the app does not find it")
        await app.close()


async def test_a_worker_that_starts_before_its_store(own_server: Restartable, make_app: Any, children: Any) -> None:
    async with Proxy(own_server.port) as proxy:
        proxy.refuses = True
        through = own_server.through(proxy.port)
        worker = children.worker(through, "--drain")
        while "tries until it can" not in children.output_of(worker):
            assert worker.poll() is None, children.output_of(worker)
            await asyncio.sleep(0.05)
        handle = await _work(make_app(own_server.through(own_server.port))).enqueue(42)
        proxy.refuses = False
        assert await handle == 42
        assert await asyncio.to_thread(worker.wait, 30) == 0
        said = children.output_of(worker)
        assert said.count("can't open its store") == 1, said
        assert "its store is back after" in said
        assert "Traceback" not in said


async def test_nobody_listens(own_server: Restartable, make_app: Any) -> None:
    with pytest.raises(StoreError) as caught:
        await make_app(own_server.through(NOBODY), secret="a secret of enough bytes").open()
    assert "\n" not in str(caught.value)
    assert own_server.secret not in str(caught.value)
