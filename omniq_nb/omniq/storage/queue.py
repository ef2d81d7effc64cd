"""The task queue over any driver: enqueue, claim, settle, cancel, replay, pause, list, count, purge."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import compress, islice
from pathlib import Path
from typing import Any

import msgspec

from ..clock import SECOND
from ..core import lifecycle, settlement
from ..core.settlement import Claimed, Ended, Outcome, Settlement
from ..errors import OptionError, SerializationError, StoreError, TaskNotFoundError, TaskStateError, WorkerLostError
from ..failures import describe_error
from ..models.event import TaskEvent
from ..models.record import Append, Delete, Extend, Filter, Insert, Op, Record, Replace
from ..models.result import RESULT, result_keys
from ..models.task import TASK, Statuses, Task, TaskSpec, TaskStatus, decode_spec, spec_of, statuses_of, task_of
from .component import Component
from .controls import ACTIVE, PAUSED, QueueControls
from .driver import Driver, Standing
from .large import LargeValues, keys_of
from .outbox import Outbox, write_with_event
from .parallel import in_parallel
from .surely import write_surely

logger = logging.getLogger("omniq")

STANDING = 10 * SECOND
"""Microseconds for which a worker's claim stands: a worker that vanished is given nothing after that."""
HANDED_LEASE = 2 * SECOND
"""Microseconds that a worker has to begin with what was handed over: as long is a task held up at most that was handed
to one which does not look any more. What it began has a lease like any other from the next heartbeat on."""
_CONFLICTS = 20
_PAGE = 500
_AT_ONCE = 100


class TaskPage(msgspec.Struct, frozen=True):
    """Some tasks, and the cursor that continues after them (``None``: that was all)."""

    tasks: list[Task]
    cursor: str | None


class BaseTaskQueue(Component):
    """The queue. Tasks, their results and their events are written here, in the order that survives a crash.

    Where the three share a driver whose batches are atomic, one settlement is one transaction. Elsewhere the result
    goes first (nobody believes it until the task names its attempt), then the task, whose version is the fence, then
    events. A deletion goes the other way round: the task is doomed, then results and large values go, then the task.

    Args:
        store: The tasks' driver, URL or path.
        results: The results' driver; the tasks' unless given.
        events: The events' driver; the tasks' unless given.
        large: Where large arguments and results are, if they have a store of their own.
        max_claims: See `Config`.
        **options: For a driver made from a URL.

    Attributes:
        large: The store for large values, if there is one.
        on_end: Called with the ids of tasks that this queue has settled, cancelled, put back or deleted.
        outbox: Its events on their way, and those of who works for it.
    """

    def __init__(
        self,
        store: Driver | str | Path,
        *,
        results: Driver | None = None,
        events: Driver | None = None,
        large: LargeValues | None = None,
        max_claims: int = 5,
        **options: Any,
    ) -> None:
        super().__init__(store, **options)
        self._results = results or self.driver
        self._events = events or self.driver
        self.large = large
        self.max_claims = max_claims
        with_results = self._results is self.driver and self.driver.capabilities.atomic_batches
        self._in_one = with_results and self._events is self.driver
        self._deletes_in_one = with_results and large is None
        self.on_end: Callable[[list[str]], None] = lambda _: None
        self._paused_read_at: dict[str, float] = {}
        self.outbox = Outbox(self._events)
        self._controls = QueueControls(self.driver, self.outbox)
        # Jitter spreads retries out; it needs no secrecy.
        self._chance = random.random

    async def open(self) -> None:
        await super().open()
        self.outbox.open()

    async def close(self) -> None:
        try:
            await self.outbox.close()
        finally:
            await super().close()

    # --- enqueue ---

    async def enqueue(
        self,
        spec: TaskSpec,
        task_id: str,
        *,
        queue: str = "default",
        priority: int = 0,
        due_at: int | None = None,
        expires_at: int | None = None,
    ) -> bool:
        """Add one task; says whether its id was free. Moments are microseconds since 1970."""
        now = self.driver.clock()
        due_at = now if due_at is None else due_at
        record = lifecycle.enqueue(task_id, queue, priority, spec, now, due_at, expires_at)
        return (await self.put([record], spec))[0]

    async def put(self, records: Sequence[Record], spec: TaskSpec, *, connection: Any = None) -> list[bool]:
        """Add tasks, with an event for each; says of each whether its id was free.

        Args:
            records: The tasks.
            spec: What they hold; they differ in their arguments alone.
            connection: See `Driver.write_within`. Events on another store are left out then: they could not be taken
                back with the transaction.
        """
        together = self._events is self.driver
        ops: list[Op] = []
        for record in records:
            ops.append(Insert(record))
            if together:
                ops.append(Append((_enqueued(record, spec),), len(ops) - 1))
        if connection is not None:
            outcomes = await self.driver.write_within(connection, ops)
        else:
            outcomes = await write_surely(self.driver, ops)
        if together:
            return outcomes[::2]
        if connection is None:
            await self.outbox.tell([_enqueued(record, spec) for record in compress(records, outcomes)])
        return outcomes

    # --- the worker's side ---

    async def claim(
        self, owner: str, limit: int, lease: int, queues: Sequence[str] | None = None, *, standing: bool = False
    ) -> list[Claimed]:
        """Take up to ``limit`` tasks that may run now; those that may not are settled on the way.

        Args:
            owner: The worker.
            limit: At most so many.
            lease: Microseconds. What was handed over has less, see `HANDED_LEASE`.
            queues: In order of preference; ``None``: every queue.
            standing: Where nothing is found, have the store hand over what comes, if it can: the next call gives it,
                and there is a hint. For workers that have nothing to do.
        """
        while True:
            records = self.driver.handed_over(owner, limit) or await self._claim(owner, limit, lease, queues, standing)
            claimed, refused = self._sift(records)
            if refused:
                await self._settle_refused(refused)
            if claimed or not records:
                return claimed

    async def _claim(
        self,
        owner: str,
        limit: int,
        lease: int,
        queues: Sequence[str] | None,
        standing: bool,  # noqa: FBT001 -- see `claim`
    ) -> list[Record]:
        paused, self._paused_read_at[owner] = await self._controls.paused_lately()
        if not standing:
            return await self.driver.claim(TASK, queues, owner, limit, lease, excluding=paused)
        stands = Standing(STANDING, min(HANDED_LEASE, lease))
        return await self.driver.claim_or_stand(TASK, queues, owner, limit, lease, stands, excluding=paused)

    async def stand_no_more(self, owner: str) -> list[Claimed]:
        """Have nothing more handed over to a worker that claims no more; gives what was, and was not fetched."""
        self._paused_read_at.pop(owner, None)
        await self.driver.end_standing(TASK, owner)
        # What is not to be run comes again soon, with its short lease's end.
        return self._sift(self.driver.handed_over(owner, sys.maxsize))[0]

    def good_for(self, owner: str, hinted_at: float) -> float:
        """Seconds after which a worker should claim again that found less than it had room for: it may not know of
        queues that were just paused or resumed.

        Args:
            owner: The worker.
            hinted_at: When it last heard that something may have changed, by `time.monotonic`.
        """
        return self._controls.good_for(self._paused_read_at[owner], hinted_at)

    async def _settle_refused(self, refused: list[Settlement]) -> None:
        """What is not to be run must not hold up what was claimed with it: unsettled, it comes again with its lease's
        end.
        """
        try:
            await self.settle_all(refused)
        except StoreError as error:
            logger.error("%d tasks that are not to be run could not be settled yet: %s", len(refused), error)

    def _sift(self, records: list[Record]) -> tuple[list[Claimed], list[Settlement]]:
        claimed: list[Claimed] = []
        refused: list[Settlement] = []
        now = self.driver.clock()
        for record in records:
            try:
                task = Claimed(record, decode_spec(record.body))
            except msgspec.MsgspecError as error:
                task = Claimed(record, TaskSpec("?", b""))
                unreadable = SerializationError(f"the task's record can't be read: {error}")
                refused.append(settlement.forbid(task, describe_error(unreadable), now))
                continue
            if lifecycle.is_overdue(record, now):
                refused.append(settlement.expire(task, now))
            elif lifecycle.is_poison(record, task.spec, self.max_claims):
                lost = WorkerLostError(record.claims - task.spec.orderly - 1)
                refused.append(settlement.forbid(task, describe_error(lost), now))
            else:
                claimed.append(task)
        return claimed, refused

    async def settle(self, claimed: Claimed, outcome: Outcome, *, worker: str, started_at: int) -> bool:
        """Write one attempt's outcome; ``False``: the lease was lost, and nothing is written."""
        ended = Ended(claimed, outcome, started_at, self.driver.clock())
        return (await self.settle_all(self.settlements([ended], worker)))[0]

    def settlements(self, ended: Sequence[Ended], worker: str) -> list[Settlement]:
        """What the outcomes of some attempts ask to be written, decided now.

        Args:
            ended: Of different tasks.
            worker: Who ran them.
        """
        now, chance = self.driver.clock(), self._chance
        return [settlement.settle(each, worker=worker, now=now, chance=chance()) for each in ended]

    async def settle_all(self, settlements: Sequence[Settlement], *, again: bool = False) -> list[bool]:
        """Write settlements in one go; says of each whether its lease still stood.

        Args:
            settlements: Of different tasks.
            again: They may be written already: the store was lost before it answered.
        """
        settle = self._settle_in_one if self._in_one else self._settle_in_turn
        outcomes = await settle(settlements, again=again)
        self.on_end([each.task.key for each, applied in zip(settlements, outcomes, strict=True) if applied])
        return outcomes

    async def _settle_in_turn(self, settlements: Sequence[Settlement], *, again: bool) -> list[bool]:
        results = [Insert(each.result) for each in settlements if each.result is not None]
        await self._results.write(results)
        replaces = [Replace(each.task, each.previous) for each in settlements]
        outcomes = await write_surely(self.driver, replaces, again=again)
        if False in outcomes:
            await self._take_back([each for each, applied in zip(settlements, outcomes, strict=True) if not applied])
        settled = [each for each, applied in zip(settlements, outcomes, strict=True) if applied]
        await self.outbox.tell([event for each in settled for event in each.events])
        return outcomes

    async def _take_back(self, refused: Sequence[Settlement]) -> None:
        """Delete results that came when their task had been deleted, or its results: nobody would find them again.

        Those of other tasks go with the task; and some may count, where a server's crash gave one claim to two workers.
        """
        tasks = await self.driver.get([(TASK, each.task.key) for each in refused])
        results = [
            each.result
            for each, task in zip(refused, tasks, strict=True)
            if each.result is not None
            and (task is None or task.created_at != each.task.created_at or lifecycle.is_doomed(task))
        ]
        if results:
            await self._results.write([Delete(result) for result in results])

    async def _settle_in_one(self, settlements: Sequence[Settlement], *, again: bool) -> list[bool]:
        ops: list[Op] = []
        replaces: list[int] = []
        noted = self.outbox.take()
        if noted:
            ops.append(Append(noted))
        for each in settlements:
            at = len(ops)
            replaces.append(at)
            ops.append(Replace(each.task, each.previous))
            if each.result is not None:
                ops.append(Insert(each.result, at))
            ops.append(Append(each.events, at))
        try:
            outcomes = await write_surely(self.driver, ops, again=again)
        except Exception:  # not when cancelled: it may have been carried out, and no event is better than two
            self.outbox.put_back(noted)
            raise
        return [outcomes[at] for at in replaces]

    async def extend(self, claimed: Sequence[Claimed], lease: int) -> list[bool]:
        """Send a heartbeat for each: its lease ends ``lease`` microseconds from now, unless it is lost already."""
        due_at = self.driver.clock() + lease
        return await self.driver.write([Extend(task.record, due_at) for task in claimed])

    # --- events that may wait a moment ---

    def note(self, *events: TaskEvent) -> None:
        """Have events written with the next settlement, or soon."""
        self.outbox.note(events, asyncio.get_running_loop)

    async def flush_events(self) -> None:
        """Write the events that wait; where their store is away, or does not answer, they wait on."""
        await self.outbox.tell(())

    # --- the user's side ---

    async def get(self, task_id: str) -> Task:
        """One task.

        Raises:
            TaskNotFoundError: There is none.
        """
        return task_of(await self._record(task_id))

    async def _record(self, task_id: str) -> Record:
        (record,) = await self.driver.get([(TASK, task_id)])
        if record is None or lifecycle.is_doomed(record):
            raise TaskNotFoundError(task_id)
        return record

    async def list_tasks(
        self,
        *,
        queue: str | None = None,
        status: TaskStatus | None = None,
        limit: int = 100,
        cursor: str | None = None,
        newest_first: bool = True,
    ) -> TaskPage:
        """A page of tasks, in order of their ids, which is that of their making."""
        state = None if status is None else status.value
        match = Filter(kind=TASK, partition=queue, state=state, newest_first=newest_first)
        records: list[Record] = []
        while True:
            page = await self.driver.scan(match, cursor=cursor, limit=limit - len(records))
            records += page.records
            cursor = page.cursor
            if cursor is None or len(records) >= limit:
                return TaskPage([task_of(record) for record in records], cursor)

    async def cancel(self, task_id: str) -> Task:
        """Take a task out of the queue, or take its lease away if it runs.

        Raises:
            TaskNotFoundError: There is none.
            TaskStateError: It has ended already.
        """
        return await self._transition(task_id, "cancel", lifecycle.CANCELLABLE, lifecycle.cancel, "task.cancelled")

    async def retry(self, task_id: str) -> Task:
        """Put a task that failed, was cancelled, expired or was skipped back into the queue.

        Raises:
            TaskNotFoundError: There is none.
            TaskStateError: It waits, runs or has succeeded.
        """
        return await self._transition(task_id, "retry", lifecycle.REPLAYABLE, lifecycle.replay, "task.retried")

    async def _transition(
        self,
        task_id: str,
        action: str,
        accepts: Collection[TaskStatus],
        change: Callable[[Record, TaskSpec, int], Record],
        event_type: str,
    ) -> Task:
        for _ in range(_CONFLICTS):
            record = await self._record(task_id)
            if TaskStatus(record.state) not in accepts:
                raise TaskStateError(task_id, action, record.state, " or ".join(sorted(accepts)))
            spec = spec_of(record)
            now = self.driver.clock()
            changed = change(record, spec, now)
            event = TaskEvent(
                now, event_type, task_id, spec.func, record.partition, record.owner, record.claims, None,
                spec.schedule_id
            )  # fmt: skip
            if await write_with_event(self.driver, self.outbox, Replace(changed, record), event):
                self.on_end([task_id])
                return task_of(changed)
        raise TaskStateError(task_id, action, "changing all the time", " or ".join(sorted(accepts)))

    async def records(self, task_ids: Sequence[str]) -> list[Record | None]:
        """The tasks' records, in this order; ``None`` where there is none."""
        found: list[Record | None] = []
        for start in range(0, len(task_ids), _PAGE):
            found += await self.driver.get([(TASK, task_id) for task_id in task_ids[start : start + _PAGE]])
        return found

    async def cancel_each(self, task_ids: Sequence[str]) -> int:
        """Cancel those of the tasks that have not ended; says how many."""
        return await self._each(self.cancel, task_ids, lifecycle.CANCELLABLE)

    async def retry_failed(self, task_ids: Sequence[str]) -> int:
        """Put those of the tasks that failed back into the queue; says how many."""
        return await self._each(self.retry, task_ids, {TaskStatus.FAILED})

    async def _each(
        self, change: Callable[[str], Awaitable[Task]], task_ids: Sequence[str], accepted: Collection[TaskStatus]
    ) -> int:
        async def change_one(task_id: str) -> bool:
            try:
                await change(task_id)
            except (TaskStateError, TaskNotFoundError):
                return False  # it went on by itself meanwhile
            return True

        wanted = [each.key for each in await self.records(task_ids) if each is not None and each.state in accepted]
        return sum(await in_parallel(change_one, wanted, limit=_AT_ONCE))

    async def stats(self) -> dict[str, dict[str, int]]:
        """How many tasks each queue has in each status."""
        queues: dict[str, dict[str, int]] = {}
        for (queue, state), n in sorted((await self.driver.count(TASK)).items()):
            queues.setdefault(queue, {})[state] = n
        return queues

    # --- pause ---

    async def pause(self, queue: str) -> None:
        """Have no worker take tasks from a queue; those that run go on."""
        await self._controls.set_state(queue, PAUSED, "queue.paused")

    async def resume(self, queue: str) -> None:
        """Have workers take tasks from a queue again."""
        await self._controls.set_state(queue, ACTIVE, "queue.resumed")

    async def paused(self) -> frozenset[str]:
        """The queues that are paused."""
        return await self._controls.paused()

    # --- move ---

    async def move(self, source: str, target: str) -> int:
        """Put the tasks that wait in one queue into another; says how many. Their order stays, and so do their ids."""
        moved = 0
        for status in (TaskStatus.PENDING, TaskStatus.BLOCKED):
            async for records in self.driver.pages(Filter(kind=TASK, partition=source, state=status.value)):
                moved += await self._move(records, target)
        return moved

    async def _move(self, records: Sequence[Record], target: str) -> int:
        now = self.driver.clock()
        outcomes = await self.driver.write([Replace(lifecycle.move(record, target, now), record) for record in records])
        moved = [record for record, applied in zip(records, outcomes, strict=True) if applied]
        events = tuple(
            TaskEvent(now, "task.moved", record.key, spec_of(record).func, target, None, record.claims)
            for record in moved
        )
        await self.outbox.tell(events)
        return len(moved)

    # --- purge ---

    async def purge(
        self, *, queue: str | None = None, status: Statuses | None = None, before: int | None = None
    ) -> int:
        """Delete tasks and their results; says how many tasks.

        Args:
            queue: Only of this queue.
            status: In this status or these; unless given, all that have ended but the dead letters.
            before: Only those that last changed before this moment, in microseconds since 1970.

        Raises:
            OptionError: There is no such status, or running tasks were asked for: cancel them first.
        """
        wanted = lifecycle.PURGED if status is None else statuses_of(status)
        if TaskStatus.RUNNING in wanted:
            raise OptionError("running tasks can't be purged: cancel them first, or leave 'running' out")
        purged = 0
        for each in wanted:
            async for records in self.driver.pages(Filter(kind=TASK, partition=queue, state=each.value)):
                purged += await self.delete([r for r in records if before is None or r.updated_at < before])
        return purged

    async def delete(self, tasks: Sequence[Record]) -> int:
        """Delete tasks that have not changed since they were read, with the results of all their attempts.

        An attempt that is not the last one may have left a result too: before a replay, or by a worker that vanished
        after it wrote the result and before it wrote the task.
        """
        if not tasks:
            return 0
        deleted = await (self._delete_in_one(tasks) if self._deletes_in_one else self._delete_in_turn(tasks))
        self.on_end([task.key for task in deleted])
        return len(deleted)

    async def _delete_in_one(self, tasks: Sequence[Record]) -> list[Record]:
        ops: list[Op] = []
        places: list[int] = []
        for task, results in zip(tasks, await self._results_of(tasks), strict=True):
            places.append(len(ops))
            ops += [Delete(task), *(Delete(each, places[-1]) for each in results)]
        outcomes = await self.driver.write(ops)
        return [task for task, place in zip(tasks, places, strict=True) if outcomes[place]]

    async def _delete_in_turn(self, tasks: Sequence[Record]) -> list[Record]:
        """What belongs to a task goes before it, so that a crash leaves nothing that nobody finds; and it goes when
        nobody can run or replay the task any more, who would miss it.
        """
        doomed = [task for task in tasks if lifecycle.is_doomed(task)]
        others = [task for task in tasks if not lifecycle.is_doomed(task)]
        changed = [lifecycle.doom(task) for task in others]
        outcomes = await self.driver.write([Replace(new, old) for new, old in zip(changed, others, strict=True)])
        doomed += compress(changed, outcomes)
        results = await self._results_of(doomed)
        await self._results.write([Delete(each) for of_task in results for each in of_task])
        if self.large is not None:
            await self.large.remove([key for task in doomed for key in keys_of(task)])
        return list(compress(doomed, await self.driver.write([Delete(task) for task in doomed])))

    async def _results_of(self, tasks: Sequence[Record]) -> list[list[Record]]:
        keys = [result_keys(task) for task in tasks]
        found = iter(await self._results.get([(RESULT, key) for of_task in keys for key in of_task]))
        return [[result for result in islice(found, len(of_task)) if result is not None] for of_task in keys]


def _enqueued(record: Record, spec: TaskSpec) -> TaskEvent:
    return TaskEvent(
        record.created_at, "task.enqueued", record.key, spec.func, record.partition, None, 0, None, spec.schedule_id
    )  # fmt: skip
