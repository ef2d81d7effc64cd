"""The pool: so many at a time, the most urgent first, and an orderly end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from omniq import AsyncOmniQ, OptionError, StoreError, TaskFailed, TaskStatus, WorkerType
from omniq.backends.memory import MemoryDriver
from omniq.backends.sqlite import SQLiteDriver
from omniq.errors import NotOpenError, StoreUnavailableError, ValueTooLargeError
from omniq.models.record import Insert, Replace
from omniq.models.result import RESULT
from omniq.models.task import TASK
from omniq.workers import heartbeat as heartbeat_module
from omniq.workers import pool as pool_module

KINDS = [WorkerType.ASYNC, WorkerType.THREAD_POOL]


class Gate:
    """Counts who is inside, and holds them until it is opened; for coroutine and plain functions alike."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1

    def hold(self) -> None:
        self.enter()
        assert self.open.wait(60)
        self.leave()

    async def hold_async(self) -> None:
        self.enter()
        while not self.open.is_set():
            await asyncio.sleep(0.005)
        self.leave()


# What the tasks below use: they are functions of a module that can be imported, so they share this process's objects.
_gates: list[Gate] = []
_loops: list[asyncio.AbstractEventLoop] = []


def hold() -> None:
    _gates[-1].hold()


async def hold_async() -> None:
    await _gates[-1].hold_async()


async def remember_loop() -> None:
    _loops.append(asyncio.get_running_loop())


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    _gates.append(gate)
    yield gate
    gate.open.set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coroutine", [True, False])
async def test_as_many_run_at_once_as_there_are_places_and_no_more(
    app: AsyncOmniQ, until: Any, gate: Gate, kind: WorkerType, coroutine: bool
) -> None:
    held = app.task(name="hold")(hold_async if coroutine else hold)
    group = [await held.enqueue() for _ in range(12)]
    async with app.workers(kind, concurrency=5):
        await until(lambda: gate.inside == 5)
        assert Counter(task.status for task in (await app.list_tasks()).tasks) == {"running": 5, "pending": 7}
        gate.open.set()
        for handle in group:
            await handle
    assert gate.most == 5


@pytest.mark.parametrize("kind", KINDS)
async def test_both_kinds_of_functions_run_and_plain_ones_never_on_the_loop(app: AsyncOmniQ, kind: WorkerType) -> None:
    loop_thread = threading.get_ident()

    @app.task
    def plain() -> bool:
        return threading.get_ident() == loop_thread

    @app.task
    async def coroutine() -> bool:
        await asyncio.sleep(0)
        return threading.get_ident() == loop_thread

    async with app.workers(kind):
        assert await (await plain.enqueue()) is False
        assert await (await coroutine.enqueue()) is (kind is WorkerType.ASYNC)


async def test_thread_keeps_its_loop_from_one_coroutine_to_the_next(app: AsyncOmniQ) -> None:
    _loops.clear()
    remember = app.task(remember_loop)
    async with app.workers("thread", concurrency=1):
        for _ in range(5):
            await (await remember.enqueue())
    assert len(_loops) == 5
    assert len(set(_loops)) == 1
    assert _loops[0].is_closed()


async def test_plain_function_that_blocks_leaves_the_loop_to_others(app: AsyncOmniQ, until: Any, gate: Gate) -> None:
    block = app.task(hold)

    @app.task
    async def quick() -> int:
        return 1

    async with app.workers(concurrency=2):
        blocked = await block.enqueue()
        await until(lambda: gate.inside)
        assert await (await quick.enqueue()) == 1
        gate.open.set()
        await blocked


async def _order(app: AsyncOmniQ, queues: list[str] | None, sent: list[dict[str, Any]]) -> list[int]:
    ran: list[int] = []

    @app.task
    async def note(n: int) -> None:
        ran.append(n)

    for n, options in enumerate(sent):
        await note.options(**options).enqueue(n)
    async with app.workers(concurrency=1, queues=queues) as pool:
        await pool.drain()
    return ran


async def test_larger_priorities_run_first_across_queues_then_queues_in_order_then_age(app: AsyncOmniQ) -> None:
    sent = [
        {"queue": "low"},
        {"queue": "high"},
        {"queue": "low", "priority": 5},
        {"queue": "high", "priority": -1},
        {"queue": "low"},
        {"queue": "high"},
        {"queue": "high", "priority": 5},
    ]
    assert await _order(app, ["high", "low"], sent) == [6, 2, 1, 5, 0, 4, 3]


async def test_pool_leaves_other_queues_alone(app: AsyncOmniQ) -> None:
    assert await _order(app, ["a"], [{"queue": "a"}, {"queue": "b"}, {"queue": "a"}]) == [0, 2]
    assert (await app.stats()).queues["b"] == {"pending": 1}


async def test_pool_without_queues_serves_all_and_new_ones(app: AsyncOmniQ) -> None:
    @app.task
    async def one() -> int:
        return 1

    async with app.workers():
        for queue in ("default", "never heard of", "ünï"):
            assert await (await one.options(queue=queue).enqueue()) == 1


async def test_paused_queue_waits_and_goes_on_when_resumed(app: AsyncOmniQ, until: Any) -> None:
    ran = []

    @app.task
    async def note(n: int) -> None:
        ran.append(n)

    await app.pause_queue("io")
    async with app.workers() as pool:
        waiting = await note.options(queue="io").enqueue(1)
        await (await note.enqueue(2))
        await pool.drain()  # what waits in a paused queue is nothing that could be done
        assert ran == [2]
        assert (await app.stats()).paused == {"io"}
        await app.resume_queue("io")
        await waiting
    assert (await app.stats()).paused == frozenset()


async def test_task_with_a_delay_does_not_run_before_it_is_due(app: AsyncOmniQ) -> None:
    @app.task
    async def now() -> float:
        return time.time()

    async with app.workers():
        handle = await now.options(delay=0.4).enqueue()
        due = (await handle.task()).run_at
        assert due is not None
        assert await handle >= due.timestamp()


async def test_time_to_live_ends_a_task_that_nobody_started(app: AsyncOmniQ, until: Any) -> None:
    @app.task(ttl=0.01)
    async def late() -> None:
        pytest.fail("it ran")

    handle = await late.enqueue()
    end = (await handle.task()).expires_at
    assert end is not None
    await until(lambda: datetime.now(UTC) > end)
    async with app.workers():
        result = await handle.wait()
    assert result.status is TaskStatus.EXPIRED


# --- drain ---


async def test_drain_returns_when_nothing_is_left(app: AsyncOmniQ) -> None:
    @app.task
    async def spawn(n: int) -> None:
        await asyncio.sleep(0)
        if n:
            await spawn.enqueue(n - 1)
            await spawn.enqueue(n - 1)

    await spawn.enqueue(4)
    async with app.workers(concurrency=4) as pool:
        await pool.drain()
    assert (await app.stats()).totals == {"succeeded": 31}


async def test_drain_waits_for_what_another_worker_runs(app: AsyncOmniQ, make_app: Any, until: Any, gate: Gate) -> None:
    held = app.task(name="hold")(hold_async)
    other = make_app()
    async with app.workers(concurrency=1):
        handle = await held.enqueue()
        await until(lambda: gate.inside)
        async with other.workers() as idle:
            draining = asyncio.create_task(idle.drain())
            await asyncio.wait([draining], timeout=0.3)
            assert not draining.done()
            gate.open.set()
            await draining
        assert await handle.status() is TaskStatus.SUCCEEDED


async def test_drain_leaves_delayed_tasks_unless_told_to_wait_for_them(app: AsyncOmniQ) -> None:
    @app.task
    async def one() -> int:
        return 1

    later, soon = await one.options(delay=3600, queue="b").enqueue(), await one.options(delay=0.3, queue="a").enqueue()
    async with app.workers(queues=["a"]) as pool:
        await pool.drain()
        await pool.drain(delayed=True)
        assert await soon.status() is TaskStatus.SUCCEEDED
    assert await later.status() is TaskStatus.PENDING


async def test_drain_of_a_stopped_pool_is_refused(app: AsyncOmniQ) -> None:
    async with app.workers() as pool:
        pass
    with pytest.raises(NotOpenError):
        await pool.drain()


# --- stop ---


@pytest.mark.parametrize("kind", KINDS)
async def test_stop_lets_running_tasks_end_and_takes_no_more(
    app: AsyncOmniQ, until: Any, gate: Gate, kind: WorkerType
) -> None:
    held = app.task(name="hold")(hold_async)
    handles = [await held.enqueue() for _ in range(4)]
    pool = await app.workers(kind, concurrency=2).start()
    await until(lambda: gate.inside == 2)
    stopping = asyncio.create_task(pool.stop(grace=60))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    gate.open.set()
    await stopping
    assert Counter([await handle.status() for handle in handles]) == {"succeeded": 2, "pending": 2}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coroutine", [True, False])
async def test_what_has_not_ended_by_the_deadline_is_handed_back_uncounted(
    app: AsyncOmniQ, until: Any, gate: Gate, kind: WorkerType, coroutine: bool
) -> None:
    held = app.task(name="hold", max_retries=0)(hold_async if coroutine else hold)
    handle = await held.enqueue()
    pool = await app.workers(kind).start()
    await until(lambda: gate.inside)
    await pool.stop(grace=0.01)
    task = await handle.task()
    assert (task.status, task.worker, task.error) == (TaskStatus.PENDING, None, None)
    gate.open.set()  # what it still comes to in its thread is not accepted
    async with app.workers(kind):
        assert (await handle.wait()).attempt == 2
    types = (await app.events(task_id=handle.id))["event_type"].to_list()
    assert Counter(types) == {"task.enqueued": 1, "task.started": 2, "task.released": 1, "task.succeeded": 1}


async def test_handing_back_again_and_again_makes_no_poison(make_app: Any, until: Any, gate: Gate) -> None:
    app = make_app(max_claims=2)
    held = app.task(name="hold")(hold_async)
    handle = await held.enqueue()
    for _ in range(5):
        inside, pool = gate.most, await app.workers().start()
        await until(lambda: gate.inside)
        gate.inside, gate.most = 0, inside
        await pool.stop(grace=0)
    gate.open.set()
    async with app.workers():
        assert (await handle.wait()).attempt == 6


async def test_stopping_twice_and_closing_the_app_afterwards_is_fine(app: AsyncOmniQ) -> None:
    async with app.workers() as pool:
        await pool.stop()
        await pool.stop()
    await app.close()
    await app.close()


@pytest.fixture
def heartbeats() -> Callable[[], list[str]]:
    """The names of the heartbeats' threads that this test has started and that are still there."""
    before = set(threading.enumerate())
    return lambda: [each.name for each in set(threading.enumerate()) - before if each.name.startswith("omniq-heart")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coroutine", [True, False])
async def test_interrupted_stop_hands_back_at_once_and_goes_on_to_its_end(
    app: AsyncOmniQ, until: Any, gate: Gate, heartbeats: Callable[[], Any], kind: WorkerType, coroutine: bool
) -> None:
    held = app.task(name="hold", max_retries=0)(hold_async if coroutine else hold)
    handle = await held.enqueue()
    pool = await app.workers(kind).start()
    await until(lambda: gate.inside)
    await until(lambda: _workers(app))
    stopping = asyncio.create_task(pool.stop(grace=600))
    await asyncio.sleep(0.01)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await pool.stop(grace=600)
    task = await handle.task()
    assert (task.status, task.worker, task.error) == (TaskStatus.PENDING, None, None)
    assert await _workers(app) == []
    assert heartbeats() == []
    gate.open.set()
    await until(lambda: pool.abandoned == 0)


async def test_leaving_the_workers_interrupted_twice_leaves_nothing_to_the_closing_app(
    app: AsyncOmniQ, make_app: Any, until: Any, gate: Gate, heartbeats: Callable[[], Any]
) -> None:
    handle = await app.task(hold_async).enqueue()

    async def cell() -> None:
        async with app.workers() as pool:
            await pool.drain()

    running = asyncio.create_task(cell())
    await until(lambda: gate.inside)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0.01)
    await asyncio.wait([running])
    await app.close()
    assert heartbeats() == []
    assert (await make_app().get_task(handle.id)).status == TaskStatus.PENDING


async def test_shortest_grace_of_all_callers_counts(app: AsyncOmniQ, until: Any, gate: Gate) -> None:
    handle = await app.task(hold_async).enqueue()
    pool = await app.workers().start()
    await until(lambda: gate.inside)
    stopping = asyncio.create_task(pool.stop(grace=600))
    await asyncio.sleep(0.01)
    await pool.stop(grace=0)
    await stopping
    assert await handle.status() == TaskStatus.PENDING


async def test_whoever_interrupts_gets_an_end_soon_and_what_ran_is_handed_back(
    app: AsyncOmniQ, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omniq.workers.pool.GRACE_SECONDS", 3600.0)

    @app.task
    async def endless() -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        async with app.workers():
            await (await endless.enqueue())

    async def runs() -> bool:
        return (await app.stats()).totals == {"running": 1}

    working = asyncio.create_task(work())
    await until(runs)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert (await app.stats()).totals == {"pending": 1}


async def test_closing_the_app_waits_for_workers_that_are_being_stopped(
    app: AsyncOmniQ, make_app: Any, until: Any, gate: Gate
) -> None:
    handle = await app.task(hold_async, max_retries=0).enqueue()
    pool = await app.workers().start()
    await until(lambda: gate.inside)
    stopping = asyncio.create_task(pool.stop(grace=600))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(app.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    gate.open.set()
    await closing
    assert stopping.done()
    assert (await make_app().get_task(handle.id)).status == TaskStatus.SUCCEEDED


async def test_interrupted_closing_of_the_app_hands_back_at_once_and_goes_on_to_its_end(
    app: AsyncOmniQ, make_app: Any, until: Any, gate: Gate, heartbeats: Callable[[], Any]
) -> None:
    handle = await app.task(hold_async).enqueue()
    for _ in range(2):
        await app.workers().start()
    await until(lambda: gate.inside)
    closing = asyncio.create_task(app.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await app.close()
    assert app.is_closed
    assert not app.is_open
    assert heartbeats() == []
    assert (await make_app().get_task(handle.id)).status == TaskStatus.PENDING


async def test_pool_that_fails_to_stop_keeps_neither_its_heartbeat_nor_the_others_nor_the_stores(
    app: AsyncOmniQ, heartbeats: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = [await app.workers().start() for _ in range(2)]

    async def fail() -> None:
        raise StoreError("memory://", "it is broken")

    monkeypatch.setattr(pools[0]._queue, "flush_events", fail)
    with pytest.raises(StoreError, match="it is broken"):
        await app.close()
    assert (app.is_closed, app.is_open) == (True, False)
    assert heartbeats() == []


async def test_closing_app_stops_all_of_its_workers_at_once(
    app: AsyncOmniQ, make_app: Any, until: Any, gate: Gate
) -> None:
    @app.task(queue="b")
    async def late() -> None: ...

    await app.task(queue="a")(hold_async).enqueue()
    for queue in ("a", "b"):
        await app.workers(queues=[queue]).start()
    await until(lambda: gate.inside)
    closing = asyncio.create_task(app.close())
    await until(lambda: all(pool._claiming.done() for pool in app._pools))
    handle = await late.enqueue()
    gate.open.set()
    await closing
    assert (await make_app().get_task(handle.id)).status == TaskStatus.PENDING


async def test_stop_breaks_off_what_a_store_does_not_answer(
    sqlite_url: str,
    until: Any,
    gate: Gate,
    heartbeats: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pool_module, "_PARTING_SECONDS", 0.2)
    monkeypatch.setattr(heartbeat_module, "_LAST_SECONDS", 0.2)
    silent = asyncio.Event()

    def perhaps(method: str) -> None:
        call = getattr(SQLiteDriver, method)

        async def called(driver: SQLiteDriver, *args: Any, **kwargs: Any) -> Any:
            if silent.is_set():
                await asyncio.get_running_loop().create_future()
            return await call(driver, *args, **kwargs)

        monkeypatch.setattr(SQLiteDriver, method, called)

    for method in ("claim", "write", "get", "next_due"):
        perhaps(method)
    async with AsyncOmniQ(sqlite_url, lease=2, poll_interval=0.05) as app:
        ended = await app.task(hold_async).enqueue()
        pool = await app.workers().start()
        await until(lambda: gate.inside)
        silent.set()
        gate.open.set()
        await until(lambda: not pool._running)
        async with asyncio.timeout(30):
            await pool.stop(grace=0.2)
        assert heartbeats() == []
        silent.clear()
        assert await ended.status() is TaskStatus.RUNNING, "until its lease ends"
    (lost,) = (each for each in caplog.messages if "ends before" in each)
    assert "what came of 1 tasks could be written: the store does not answer" in lost
    assert "Traceback" not in caplog.text


async def test_workers_end_while_their_tasks_have_taken_the_loop_s_own_threads(
    app: AsyncOmniQ, gate: Gate, until: Any, heartbeats: Callable[[], Any]
) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))

    @app.task
    async def block() -> None:
        await asyncio.to_thread(hold)

    await block.enqueue()
    pool = await app.workers().start()
    await until(lambda: gate.inside)
    async with asyncio.timeout(30):
        await pool.stop(grace=0)
    assert heartbeats() == []


def test_loop_that_ends_while_its_workers_stop_leaves_the_task_to_the_next(
    sqlite_url: str, gate: Gate, heartbeats: Callable[[], Any]
) -> None:
    async def leave() -> str:
        app = AsyncOmniQ(sqlite_url)
        handle = await app.task(hold_async, max_retries=0).enqueue()
        await app.workers().start()
        while not gate.inside:
            await asyncio.sleep(0.01)
        closing.append(asyncio.create_task(app.close()))
        await asyncio.sleep(0.05)
        return handle.id

    async def look(task_id: str) -> Any:
        async with AsyncOmniQ(sqlite_url) as app:
            return await app.get_task(task_id)

    closing: list[asyncio.Task[None]] = []
    task = asyncio.run(look(asyncio.run(leave())))
    assert task.status in {TaskStatus.PENDING, TaskStatus.RUNNING}  # handed back, or its lease ends
    assert task.error is None
    assert heartbeats() == []


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)  # another one would be left open
def test_loop_that_ends_without_stopping_its_workers_ends_their_heartbeat(
    store_url: str, heartbeats: Callable[[], Any]
) -> None:
    async def leave() -> None:
        await AsyncOmniQ(store_url).workers().start()

    async def look() -> list[Any]:
        async with AsyncOmniQ(store_url) as app:
            return (await app.stats()).workers

    asyncio.run(leave())
    while heartbeats():
        time.sleep(0.05)
    assert asyncio.run(look()) == []


async def test_closing_the_app_stops_its_workers(app: AsyncOmniQ, make_app: Any, until: Any) -> None:
    await app.workers().start()
    await until(lambda: _workers(app))
    await app.close()
    other = make_app()
    assert (await other.stats()).workers == []


async def _workers(app: AsyncOmniQ) -> list[Any]:
    return (await app.stats()).workers


async def test_worker_reports_itself_and_leaves(app: AsyncOmniQ, until: Any) -> None:
    async with app.workers("thread", concurrency=3, queues=["b", "a"]) as pool:
        (info,) = await until(lambda: _workers(app))
        assert (info.id, info.type, info.concurrency, info.queues) == (pool.id, "thread", 3, ("b", "a"))
    assert await _workers(app) == []
    types = (await app.events(types="worker.*"))["event_type"].to_list()
    assert types == ["worker.started", "worker.stopped"]


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, "4"])
async def test_impossible_concurrency_is_refused(app: AsyncOmniQ, concurrency: Any) -> None:
    with pytest.raises(OptionError, match="concurrency must be a whole number of at least 1"):
        await app.workers(concurrency=concurrency).start()


async def test_queues_given_as_one_text_are_refused(app: AsyncOmniQ) -> None:
    with pytest.raises(OptionError, match=r"write \['io'\]"):
        await app.workers(queues="io").start()


async def test_unknown_kind_of_worker_is_refused_and_the_kinds_are_named(app: AsyncOmniQ) -> None:
    with pytest.raises(OptionError, match="no worker type 'fibre': the types are 'async', 'thread'"):
        app.workers("fibre")


# --- a store that fails ---


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """``broken["write"](ops)`` may raise instead of a write."""
    hooks: dict[str, Any] = {}
    for name in ("write", "claim"):
        original = getattr(MemoryDriver, name)

        async def call(
            self: MemoryDriver, *args: Any, _name: str = name, _original: Any = original, **kwargs: Any
        ) -> Any:
            if _name in hooks:
                hooks[_name](args[0])
            return await _original(self, *args, **kwargs)

        monkeypatch.setattr(MemoryDriver, name, call)
    return hooks


def _settles(ops: Any) -> bool:
    return any(isinstance(op, Replace) and op.previous.kind == TASK for op in ops)


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
async def test_outcomes_and_events_wait_for_a_store_that_is_away(
    app: AsyncOmniQ, broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omniq.workers.pool._RETRY_STORE_SECONDS", 0.01)
    failures = []

    def away(ops: Any) -> None:
        if _settles(ops) and len(failures) < 3:
            failures.append(1)
            raise StoreUnavailableError("memory://x")

    @app.task
    async def one() -> int:
        return 1

    broken["write"] = away
    async with app.workers():
        handle = await one.enqueue()
        assert await handle == 1
    assert len(failures) == 3
    types = (await app.events(task_id=handle.id))["event_type"].to_list()
    assert sorted(types) == ["task.enqueued", "task.started", "task.succeeded"]


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
@pytest.mark.parametrize("error", [ValueTooLargeError("memory://x"), OverflowError("no such number")])
async def test_value_that_the_store_refuses_fails_its_task_and_holds_no_other_up(
    app: AsyncOmniQ, broken: dict[str, Any], error: Exception
) -> None:
    def refuse(ops: Any) -> None:
        if any(
            isinstance(op, Insert) and op.record.kind == RESULT and b"far too large" in op.record.body for op in ops
        ):
            raise error

    @app.task
    async def give(value: str) -> str:
        return value

    broken["write"] = refuse
    async with app.workers():
        group = await give.map(["fine", "far too large", "also fine"])
        fine, refused, also = await group.settled()
    assert (fine, also) == ("fine", "also fine")
    assert isinstance(refused, TaskFailed)
    assert refused.error == str(error)
    assert [task.id for task in (await app.dead_letters()).tasks] == [group[1].id]


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
@pytest.mark.parametrize("error", [StoreUnavailableError("memory://x"), RuntimeError("a bug of ours")])
async def test_worker_takes_tasks_again_after_any_error(
    app: AsyncOmniQ, broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("omniq.workers.pool._RETRY_STORE_SECONDS", 0.01)
    failures = []

    def fail(kind: str) -> None:
        if kind == TASK and len(failures) < 3:
            failures.append(1)
            raise error

    @app.task
    async def one() -> int:
        return 1

    broken["claim"] = fail
    async with app.workers():
        assert await (await one.enqueue()) == 1
    assert len(failures) == 3


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
async def test_error_of_the_store_reaches_who_enqueues(app: AsyncOmniQ, broken: dict[str, Any]) -> None:
    @app.task
    async def one() -> int:
        return 1

    def away(ops: Any) -> None:
        raise StoreUnavailableError("memory://x")

    broken["write"] = away
    with pytest.raises(StoreError, match="can't be reached"):
        await one.enqueue()
    broken.clear()
    assert (await app.stats()).totals == {}


async def test_memory_of_running_tasks_is_given_back(app: AsyncOmniQ) -> None:
    @app.task
    async def one(n: int) -> int:
        return n

    async with app.workers() as pool:
        assert sum(await (await one.map(range(500)))) == 500 * 499 // 2
        await pool.drain()
        assert (pool._running, pool._lost, pool._finished) == ({}, set(), [])


async def test_two_pools_of_one_app_share_the_work_and_each_task_runs_once(app: AsyncOmniQ) -> None:
    ran: Counter[int] = Counter()

    @app.task
    async def note(n: int) -> None:
        await asyncio.sleep(0)
        ran[n] += 1

    async with app.workers(concurrency=3), app.workers("thread", concurrency=3):
        await (await note.map(range(300)))
    assert ran == Counter(range(300))
