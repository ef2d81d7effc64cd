"""Deleting tasks whose results are on another store: it may break off anywhere, and others may be at the same tasks."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from omniq import BaseTaskQueue, TaskNotFoundError, TaskStatus
from omniq.backends.memory import MemoryDriver
from omniq.backends.sqlite import SQLiteDriver
from omniq.clock import SECOND
from omniq.core.settlement import Claimed, Ended, Raised, Succeeded
from omniq.models.record import Delete, Filter, Op, Record
from omniq.models.result import RESULT, ErrorInfo
from omniq.models.task import TASK, TaskSpec
from omniq.storage.driver import Driver
from omniq.storage.large import LargeValues, arguments_key, fetch
from omniq.storage.maintenance import Maintenance
from omniq.storage.results import BaseResultStorage
from omniq.testing.clock import FakeClock

BROKEN = Raised(ErrorInfo("E", ""), final=True)


class Bench:
    """A queue whose results and large values are on another store."""

    def __init__(self, tasks: Driver, others: Driver, clock: FakeClock) -> None:
        self.tasks, self.others, self.clock = tasks, others, clock
        self.large = LargeValues(others, 1, tasks)
        self.queue = BaseTaskQueue(tasks, results=others, large=self.large)
        self.results = BaseResultStorage(others, tasks=tasks)

    async def enqueue(self, task_id: str) -> None:
        arguments = await self.large.offload(b"arguments", arguments_key(task_id, self.clock()))
        assert await self.queue.enqueue(TaskSpec("f", arguments), task_id)

    async def claim(self) -> Claimed:
        (claimed,) = await self.queue.claim("w", 1, 30 * SECOND)
        return claimed

    async def settle(self, claimed: Claimed, outcome: Succeeded | Raised) -> bool:
        return await self.queue.settle(claimed, outcome, worker="w", started_at=self.clock())

    async def read(self, task_id: str) -> Record:
        (record,) = await self.tasks.get([(TASK, task_id)])
        assert record is not None
        return record

    async def left(self) -> list[Record]:
        """What there is of tasks, results and large values."""
        kinds = ((self.tasks, TASK), (self.others, RESULT), (self.others, "value"))
        return [record for driver, kind in kinds for record in (await driver.scan(Filter(kind=kind))).records]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = FakeClock()
    async with (
        MemoryDriver(f"memory://{uuid.uuid4().hex}", clock=clock) as tasks,
        SQLiteDriver(f"sqlite:///{tmp_path}/others.db", clock=clock) as others,
    ):
        yield Bench(tasks, others, clock)


@pytest.mark.parametrize("outcome", [Succeeded(b"value"), BROKEN], ids=["succeeded", "failed"])
async def test_one_that_breaks_off_before_the_task_goes_is_finished_by_the_next_pass(
    bench: Bench, outcome: Succeeded | Raised, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.enqueue("a")
    assert await bench.settle(await bench.claim(), outcome)
    write = bench.tasks.write

    async def break_off(ops: Sequence[Op]) -> list[bool]:
        if any(isinstance(op, Delete) for op in ops):
            raise ConnectionAbortedError
        return await write(ops)

    with monkeypatch.context() as patch:
        patch.setattr(bench.tasks, "write", break_off)
        with pytest.raises(ConnectionAbortedError):
            await bench.queue.delete([await bench.read("a")])

    # Its result is gone, so it has no outcome that could be told, and nobody can set it going again.
    assert await bench.results.outcomes(["a"]) == [None]
    with pytest.raises(TaskNotFoundError):
        await bench.queue.get("a")
    with pytest.raises(TaskNotFoundError):
        await bench.queue.retry("a")
    await Maintenance(bench.queue, bench.others, bench.tasks).sweep()
    assert await bench.left() == []


async def test_a_task_that_waits_is_run_by_nobody_once_its_deletion_has_begun(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.enqueue("a")

    async def break_off(ops: Sequence[Op]) -> list[bool]:
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(bench.others, "write", break_off)
        with pytest.raises(ConnectionAbortedError):
            await bench.queue.delete([await bench.read("a")])
    assert await bench.queue.claim("w", 1, 30 * SECOND) == []
    assert await bench.results.outcomes(["a"]) == [None]
    await Maintenance(bench.queue, bench.others, bench.tasks).sweep()
    assert await bench.left() == []


async def test_a_task_that_is_replayed_after_it_was_read_keeps_what_it_needs(bench: Bench) -> None:
    await bench.enqueue("a")
    assert await bench.settle(await bench.claim(), BROKEN)
    failed = await bench.read("a")
    await bench.queue.retry("a")
    assert await bench.queue.delete([failed]) == 0
    claimed = await bench.claim()
    assert await fetch(bench.large, claimed.spec.payload) == b"arguments"
    assert await bench.settle(claimed, Succeeded(b"value"))
    (outcome,) = await bench.results.outcomes(["a"])
    assert outcome is not None
    assert not isinstance(outcome, Record)
    assert outcome.result is not None


async def test_two_who_delete_the_same_tasks_count_each_once(bench: Bench) -> None:
    for task_id in ("a", "b"):
        await bench.enqueue(task_id)
        assert await bench.settle(await bench.claim(), Succeeded(b"value"))
    tasks = [await bench.read("a"), await bench.read("b")]
    assert await bench.queue.delete(tasks[:1]) == 1
    assert await bench.queue.delete(tasks) == 1
    assert await bench.left() == []


async def test_a_result_that_comes_after_its_task_was_deleted_does_not_stay(bench: Bench) -> None:
    await bench.enqueue("a")
    late = await bench.claim()
    await bench.queue.cancel("a")
    assert await bench.queue.delete([await bench.read("a")]) == 1
    assert not await bench.settle(late, Succeeded(b"late"))
    assert await bench.left() == []


async def test_a_result_that_may_count_stays_when_another_one_is_refused(bench: Bench) -> None:
    """A server's crash may give one claim to two workers: the task may name the result of the one that is refused."""
    await bench.enqueue("a")
    claimed = await bench.claim()
    now = bench.clock()
    first, second = (
        bench.queue.settlements([Ended(claimed, Succeeded(value), now, now)], "w") for value in (b"first", b"second")
    )
    write = bench.tasks.write

    async def after_the_other(ops: Sequence[Op]) -> list[bool]:
        bench.tasks.write = write  # type: ignore[method-assign]
        assert await bench.queue.settle_all(second) == [True]
        return await write(ops)

    bench.tasks.write = after_the_other  # type: ignore[method-assign]
    assert await bench.queue.settle_all(first) == [False]
    (outcome,) = await bench.results.outcomes(["a"])
    assert outcome is not None
    assert not isinstance(outcome, Record)
    assert outcome.task.state == TaskStatus.SUCCEEDED
    assert outcome.result is not None
