"""Leases: who holds one may write, who lost it may not, and a live worker keeps its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from omniq import AsyncOmniQ, BaseTaskQueue, TaskStatus
from omniq.backends.memory import MemoryDriver
from omniq.backends.sqlite import SQLiteDriver
from omniq.clock import SECOND
from omniq.core.settlement import Claimed, Raised, Released, Succeeded
from omniq.models.record import Filter, Record
from omniq.models.result import RESULT, ErrorInfo
from omniq.models.task import TaskSpec
from omniq.serialization import Serializer
from omniq.signing import Signer
from omniq.storage.maintenance import MAINTENANCE, Maintenance
from omniq.storage.workers import WORKER, WorkerInfo, WorkerRegistry
from omniq.testing.clock import FakeClock

LEASE = 30 * SECOND
VALUE = Serializer(Signer(b"a secret of enough bytes")).dumps("value")


class Bench:
    """A queue over a driver whose clock the test moves."""

    def __init__(self, driver: Any, clock: FakeClock) -> None:
        self.driver, self.clock = driver, clock
        self.queue = BaseTaskQueue(driver, max_claims=3)

    async def claim(self, owner: str, limit: int = 10) -> list[Claimed]:
        return await self.queue.claim(owner, limit, LEASE)

    async def settle(self, claimed: Claimed, outcome: Any, worker: str = "w") -> bool:
        return await self.queue.settle(claimed, outcome, worker=worker, started_at=self.clock())

    async def read(self, kind: str, key: str) -> Record:
        (record,) = await self.driver.get([(kind, key)])
        assert record is not None
        return record


@pytest.fixture
async def bench(store_url: str) -> AsyncIterator[Bench]:
    clock = FakeClock()
    if store_url.startswith("sqlite"):
        driver: Any = SQLiteDriver(store_url, clock=clock)
    else:
        driver = MemoryDriver(store_url, clock=clock)
    async with driver:
        bench = Bench(driver, clock)
        yield bench
        await bench.queue.close()


async def test_lease_that_ran_out_goes_to_the_next_and_the_first_is_refused(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a")
    (first,) = await bench.claim("first")
    assert await bench.claim("second") == []
    bench.clock.advance(30)
    (second,) = await bench.claim("second")
    assert (second.record.owner, second.record.claims) == ("second", 2)
    assert await bench.queue.extend([first], LEASE) == [False]
    for outcome in (Succeeded(b"first"), Raised(ErrorInfo("E", "")), Released()):
        assert not await bench.settle(first, outcome, "first")
    assert await bench.settle(second, Succeeded(VALUE), "second")
    assert not await bench.settle(first, Succeeded(b"first"), "first")
    assert not await bench.settle(second, Succeeded(b"again"), "second")
    assert (await bench.queue.get("a")).status is TaskStatus.SUCCEEDED
    page = await bench.driver.scan(Filter(kind=RESULT))
    assert len(page.records) == 1


async def test_heartbeat_keeps_the_lease_for_as_long_as_it_is_sent(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a")
    (held,) = await bench.claim("first")
    for _ in range(10):
        bench.clock.advance(20)
        assert await bench.queue.extend([held], LEASE) == [True]
        assert await bench.claim("second") == []
    assert await bench.settle(held, Succeeded(VALUE))


async def test_lease_that_ran_out_but_was_not_taken_still_counts(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a")
    (held,) = await bench.claim("first")
    bench.clock.advance(3600)
    assert await bench.queue.extend([held], LEASE) == [True]
    assert await bench.claim("second") == []
    assert await bench.settle(held, Succeeded(VALUE))


async def test_cancelling_takes_the_lease_away(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a")
    (held,) = await bench.claim("first")
    await bench.queue.cancel("a")
    assert await bench.queue.extend([held], LEASE) == [False]
    assert not await bench.settle(held, Succeeded(VALUE))
    assert (await bench.queue.get("a")).status is TaskStatus.CANCELLED


async def test_replayed_task_is_safe_from_the_worker_that_ran_it_before(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a")
    (late,) = await bench.claim("late")
    await bench.queue.cancel("a")
    await bench.queue.retry("a")
    (held,) = await bench.claim("second")
    assert not await bench.settle(late, Succeeded(b"late"))
    assert await bench.settle(held, Succeeded(VALUE))


async def test_poison_ends_in_the_dead_letters_after_so_many_vanished_workers(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a")
    for _ in range(3):
        assert len(await bench.claim("w")) == 1
        bench.clock.advance(31)
    assert await bench.claim("w") == []
    task = await bench.queue.get("a")
    assert task.status is TaskStatus.FAILED
    assert "3 workers vanished" in (task.error or "")


async def test_attempts_that_raise_are_no_poison(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a")
    for _ in range(3):
        (held,) = await bench.claim("w")
        assert await bench.settle(held, Raised(ErrorInfo("E", ""), requested=True, delay=0))
    bench.clock.advance(1)
    assert len(await bench.claim("w")) == 1


async def test_overdue_tasks_are_settled_on_the_way_and_others_claimed(bench: Bench) -> None:
    for n in range(5):
        await bench.queue.enqueue(TaskSpec("f", b""), f"old{n}", expires_at=bench.clock() + SECOND)
    bench.clock.advance(2)
    await bench.queue.enqueue(TaskSpec("f", b""), "new")
    assert [task.record.key for task in await bench.claim("w", 3)] == ["new"]
    assert (await bench.queue.stats())["default"] == {"expired": 5, "running": 1}


# --- maintenance ---


def _maintenance(bench: Bench, retention: float | None = None) -> Maintenance:
    return Maintenance(bench.queue, bench.driver, bench.driver, retention)


async def test_sweep_expires_what_nobody_claims_and_deletes_what_was_kept_long_enough(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "late", expires_at=bench.clock() + 10 * SECOND)
    await bench.queue.enqueue(TaskSpec("f", b"", result_ttl=60), "done", priority=1)
    (held,) = await bench.claim("w", 1)
    await bench.settle(held, Succeeded(VALUE))
    bench.clock.advance(11)
    await _maintenance(bench).sweep()
    assert (await bench.queue.stats())["default"] == {"expired": 1, "succeeded": 1}
    bench.clock.advance(50)
    await _maintenance(bench).sweep()
    assert (await bench.queue.stats())["default"] == {"expired": 1}
    assert (await bench.driver.scan(Filter(kind=RESULT))).records == []


async def test_sweep_leaves_a_running_task_alone(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a", expires_at=bench.clock() + 10 * SECOND)
    (held,) = await bench.claim("w")
    bench.clock.advance(20)
    await _maintenance(bench).sweep()
    assert await bench.settle(held, Succeeded(VALUE))


async def test_one_worker_at_a_time_sweeps_and_not_all_the_time(bench: Bench) -> None:
    maintenance = _maintenance(bench)
    await maintenance.run_if_due("a")
    assert [await maintenance.run_if_due(worker) for worker in "abc"] == [True, False, False]
    bench.clock.advance(16)
    assert [await maintenance.run_if_due(worker) for worker in "bac"] == [True, False, False]


async def test_sweep_that_fails_is_tried_again_soon(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    maintenance = _maintenance(bench)
    await maintenance.run_if_due("a")

    async def fail() -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(maintenance, "sweep", fail)
        with pytest.raises(RuntimeError, match="broken"):
            await maintenance.run_if_due("a")
    bench.clock.advance(16)
    assert await maintenance.run_if_due("b")
    assert (await bench.read(MAINTENANCE, "sweep")).owner is None


async def test_old_events_are_trimmed(bench: Bench) -> None:
    await bench.queue.enqueue(TaskSpec("f", b""), "a")
    bench.clock.advance(100)
    await bench.queue.enqueue(TaskSpec("f", b""), "b")
    await _maintenance(bench, retention=50).sweep()
    events, _ = await bench.driver.log_end(1000)
    assert [event.task_id for event in events] == ["b"]


# --- workers' registrations ---


def _info(name: str = "w") -> WorkerInfo:
    now = datetime.now(UTC)
    return WorkerInfo(
        id=name, host="h", pid=1, type="async", concurrency=1, running=0, queues=(), started_at=now, seen_at=now
    )


async def test_worker_that_falls_silent_is_gone_after_a_while_and_back_when_it_reports(bench: Bench) -> None:
    registry = WorkerRegistry(bench.driver, bench.queue.outbox)
    await registry.report(_info())
    bench.clock.advance(59)
    assert [info.id for info in await registry.list_workers()] == ["w"]
    bench.clock.advance(2)
    assert await registry.list_workers() == []
    await _maintenance(bench).sweep()
    assert (await bench.driver.scan(Filter(kind=WORKER))).records == []
    for _ in range(3):
        await registry.report(_info())
        bench.clock.advance(40)
        assert [info.id for info in await registry.list_workers()] == ["w"]


async def test_worker_goes_on_reporting_after_its_connection_was_made_anew(bench: Bench) -> None:
    await WorkerRegistry(bench.driver, bench.queue.outbox).report(_info())
    registry = WorkerRegistry(bench.driver, bench.queue.outbox)
    for _ in range(3):
        bench.clock.advance(40)
        await registry.report(_info())
        assert [info.id for info in await registry.list_workers()] == ["w"]
    await registry.leave("w")
    assert await registry.list_workers() == []


# --- in a pool ---


async def test_outcome_that_waits_for_a_blocked_loop_keeps_its_lease(make_app: Any, until: Any) -> None:
    app = make_app(lease=0.5)
    ran: list[int] = []

    @app.task
    async def block(n: int) -> int:
        ran.append(n)
        time.sleep(1.2)
        return n

    # The first one ends, and before its outcome can be written the second one blocks the loop.
    group = await block.map(range(2))
    async with app.workers(concurrency=2):
        assert await group == [0, 1]
    assert ran == [0, 1]
    assert [(await handle.task()).attempt for handle in group] == [1, 1]


async def test_lost_lease_stops_the_task_and_nothing_is_written(app: AsyncOmniQ, until: Any) -> None:
    begun: list[int] = []
    stopped: list[int] = []

    @app.task
    async def hang() -> None:
        begun.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(1)

    async with app.workers(concurrency=1) as pool:
        handle = await hang.enqueue()
        await until(lambda: begun)
        await handle.cancel()
        await handle.retry()
        # The same worker takes it again, under a newer claim, while the old attempt is being stopped.
        await until(lambda: any(claimed.record.claims == 2 for claimed, _ in pool._running.values()))
        await until(lambda: len(begun) == 2)
        await handle.cancel()
        await until(lambda: not pool._running)
        assert stopped == [1, 1]
    assert await handle.status() is TaskStatus.CANCELLED


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_heartbeats_go_on_after_an_error_of_any_kind(
    make_app: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(lease=0.6)
    failures = []
    original = SQLiteDriver.write

    async def write(self: SQLiteDriver, ops: Any) -> Any:
        if any(type(op).__name__ == "Extend" for op in ops) and len(failures) < 2:
            failures.append(1)
            raise RuntimeError("a bug of ours")
        return await original(self, ops)

    monkeypatch.setattr(SQLiteDriver, "write", write)

    @app.task
    async def long() -> int:
        await asyncio.sleep(3)
        return 1

    async with app.workers() as pool:
        handle = await long.enqueue()
        assert await handle == 1
        assert pool._heartbeat._thread.is_alive()
    assert len(failures) == 2
