# Generated from omniq/storage/queue.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.storage.queue` without ``await``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..core.settlement import Claimed, Ended, Outcome, Settlement
from ..models.event import TaskEvent
from ..models.record import Record
from ..models.task import Statuses, Task, TaskSpec, TaskStatus
from ..storage.driver import Driver
from ..storage.large import LargeValues
from ..storage.queue import BaseTaskQueue, TaskPage
from .component import SyncComponent


class SyncTaskQueue(SyncComponent):
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
    """

    _async: BaseTaskQueue
    _async_class: ClassVar[type[BaseTaskQueue]] = BaseTaskQueue

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
        self._adopt(
            self._async_class(store, results=results, events=events, large=large, max_claims=max_claims, **options)
        )

    @property
    def large(self) -> LargeValues | None:
        return self._async.large

    @property
    def max_claims(self) -> int:
        return self._async.max_claims

    @property
    def on_end(self) -> Callable[[list[str]], None]:
        return self._async.on_end

    def open(self) -> None:
        self._run(self._async.open())

    def close(self) -> None:
        self._run(self._async.close())

    def enqueue(
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
        return self._run(
            self._async.enqueue(spec, task_id, queue=queue, priority=priority, due_at=due_at, expires_at=expires_at)
        )

    def put(self, records: Sequence[Record], spec: TaskSpec) -> list[bool]:
        """Add tasks, with an event for each; says of each whether its id was free.

        Args:
            records: The tasks.
            spec: What they hold; they differ in their arguments alone.
        """
        return self._run(self._async.put(records, spec))

    def claim(
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
        return self._run(self._async.claim(owner, limit, lease, queues, standing=standing))

    def stand_no_more(self, owner: str) -> list[Claimed]:
        """Have nothing more handed over to a worker that claims no more; gives what was, and was not fetched."""
        return self._run(self._async.stand_no_more(owner))

    def good_for(self, owner: str, hinted_at: float) -> float:
        """Seconds after which a worker should claim again that found less than it had room for: it may not know of
        queues that were just paused or resumed.

        Args:
            owner: The worker.
            hinted_at: When it last heard that something may have changed, by `time.monotonic`.
        """
        return self._async.good_for(owner, hinted_at)

    def settle(self, claimed: Claimed, outcome: Outcome, *, worker: str, started_at: int) -> bool:
        """Write one attempt's outcome; ``False``: the lease was lost, and nothing is written."""
        return self._run(self._async.settle(claimed, outcome, worker=worker, started_at=started_at))

    def settlements(self, ended: Sequence[Ended], worker: str) -> list[Settlement]:
        """What the outcomes of some attempts ask to be written, decided now.

        Args:
            ended: Of different tasks.
            worker: Who ran them.
        """
        return self._async.settlements(ended, worker)

    def settle_all(self, settlements: Sequence[Settlement], *, again: bool = False) -> list[bool]:
        """Write settlements in one go; says of each whether its lease still stood.

        Args:
            settlements: Of different tasks.
            again: They may be written already: the store was lost before it answered.
        """
        return self._run(self._async.settle_all(settlements, again=again))

    def extend(self, claimed: Sequence[Claimed], lease: int) -> list[bool]:
        """Send a heartbeat for each: its lease ends ``lease`` microseconds from now, unless it is lost already."""
        return self._run(self._async.extend(claimed, lease))

    def note(self, *events: TaskEvent) -> None:
        """Have events written with the next settlement, or soon."""
        self._call(self._async.note, *events)

    def flush_events(self) -> None:
        """Write the events that wait; where their store is away, or does not answer, they wait on."""
        self._run(self._async.flush_events())

    def get(self, task_id: str) -> Task:
        """One task.

        Raises:
            TaskNotFoundError: There is none.
        """
        return self._run(self._async.get(task_id))

    def list_tasks(
        self,
        *,
        queue: str | None = None,
        status: TaskStatus | None = None,
        limit: int = 100,
        cursor: str | None = None,
        newest_first: bool = True,
    ) -> TaskPage:
        """A page of tasks, in order of their ids, which is that of their making."""
        return self._run(
            self._async.list_tasks(queue=queue, status=status, limit=limit, cursor=cursor, newest_first=newest_first)
        )

    def cancel(self, task_id: str) -> Task:
        """Take a task out of the queue, or take its lease away if it runs.

        Raises:
            TaskNotFoundError: There is none.
            TaskStateError: It has ended already.
        """
        return self._run(self._async.cancel(task_id))

    def retry(self, task_id: str) -> Task:
        """Put a task that failed, was cancelled, expired or was skipped back into the queue.

        Raises:
            TaskNotFoundError: There is none.
            TaskStateError: It waits, runs or has succeeded.
        """
        return self._run(self._async.retry(task_id))

    def records(self, task_ids: Sequence[str]) -> list[Record | None]:
        """The tasks' records, in this order; ``None`` where there is none."""
        return self._run(self._async.records(task_ids))

    def cancel_each(self, task_ids: Sequence[str]) -> int:
        """Cancel those of the tasks that have not ended; says how many."""
        return self._run(self._async.cancel_each(task_ids))

    def retry_failed(self, task_ids: Sequence[str]) -> int:
        """Put those of the tasks that failed back into the queue; says how many."""
        return self._run(self._async.retry_failed(task_ids))

    def stats(self) -> dict[str, dict[str, int]]:
        """How many tasks each queue has in each status."""
        return self._run(self._async.stats())

    def pause(self, queue: str) -> None:
        """Have no worker take tasks from a queue; those that run go on."""
        self._run(self._async.pause(queue))

    def resume(self, queue: str) -> None:
        """Have workers take tasks from a queue again."""
        self._run(self._async.resume(queue))

    def paused(self) -> frozenset[str]:
        """The queues that are paused."""
        return self._run(self._async.paused())

    def move(self, source: str, target: str) -> int:
        """Put the tasks that wait in one queue into another; says how many. Their order stays, and so do their ids."""
        return self._run(self._async.move(source, target))

    def purge(self, *, queue: str | None = None, status: Statuses | None = None, before: int | None = None) -> int:
        """Delete tasks and their results; says how many tasks.

        Args:
            queue: Only of this queue.
            status: In this status or these; unless given, all that have ended but the dead letters.
            before: Only those that last changed before this moment, in microseconds since 1970.

        Raises:
            OptionError: There is no such status, or running tasks were asked for: cancel them first.
        """
        return self._run(self._async.purge(queue=queue, status=status, before=before))

    def delete(self, tasks: Sequence[Record]) -> int:
        """Delete tasks that have not changed since they were read, with the results of all their attempts.

        An attempt that is not the last one may have left a result too: before a replay, or by a worker that vanished
        after it wrote the result and before it wrote the task.
        """
        return self._run(self._async.delete(tasks))
