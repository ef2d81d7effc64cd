"""Named queues: which there are, how they do, and what can be done with a whole one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from .clock import SECOND, to_datetime
from .display import Displayed
from .models.record import EventFilter, Filter
from .models.task import TASK, Statuses, TaskStatus
from .storage.driver import Driver
from .storage.queue import BaseTaskQueue
from .storage.workers import WorkerInfo

_ENDED = ("task.succeeded", "task.dead")


class Stats(Displayed, msgspec.Struct, frozen=True):
    """The state of the queues.

    Attributes:
        queues: For each queue how many tasks it has in each status.
        paused: The queues that are paused.
        workers: The workers that have reported lately.
    """

    queues: dict[str, dict[str, int]]
    paused: frozenset[str]
    workers: list[WorkerInfo]

    @property
    def totals(self) -> dict[str, int]:
        """Tasks in each status, over all queues."""
        totals: dict[str, int] = {}
        for counts in self.queues.values():
            for status, n in counts.items():
                totals[status] = totals.get(status, 0) + n
        return totals


class QueueStats(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """How one queue does.

    Attributes:
        name: The queue.
        paused: Whether workers leave it alone.
        counts: Tasks in each status.
        oldest: When the task that waits longest was made; ``None``: none waits.
        window: Seconds that the following figures look back.
        ended: Tasks that ended in that time.
        failed: Those of them that failed for good.
        mean_duration: Seconds that their last attempts ran, on average; ``None``: none ended.
    """

    name: str
    paused: bool
    counts: dict[TaskStatus, int]
    oldest: datetime | None
    window: float
    ended: int
    failed: int
    mean_duration: float | None

    @property
    def per_second(self) -> float:
        """Tasks that ended in a second, on average."""
        return self.ended / self.window


class QueueManager:
    """What can be said of and done with whole queues; an app has one, ``app.queues``.

    Args:
        open_stores: Gives the tasks and the events' store, opened if need be.
    """

    def __init__(self, open_stores: Callable[[], Awaitable[tuple[BaseTaskQueue, Driver]]]) -> None:
        self._open_stores = open_stores

    async def names(self) -> list[str]:
        """Every queue that has tasks, or is paused."""
        queue, _ = await self._open_stores()
        return sorted({*await queue.stats(), *await queue.paused()})

    async def stats(self, name: str, *, window: float = 300.0) -> QueueStats:
        """How a queue does; of one that has no tasks, zeros.

        Args:
            name: The queue.
            window: Seconds that throughput and durations look back.
        """
        queue, events = await self._open_stores()
        counts = (await queue.stats()).get(name, {})
        since = queue.driver.clock() - round(window * SECOND)
        ended = await events.query(EventFilter(queue=name, types=_ENDED, since=since))
        durations = [duration for duration in ended["duration"] if duration is not None]
        return QueueStats(
            name=name,
            paused=name in await queue.paused(),
            counts={TaskStatus(state): n for state, n in counts.items()},
            oldest=await _oldest(queue, name),
            window=window,
            ended=len(ended["ts"]),
            failed=ended["event_type"].count("task.dead"),
            mean_duration=sum(durations) / len(durations) if durations else None,
        )

    async def pause(self, name: str) -> None:
        """Have no worker take tasks from the queue; those that run go on."""
        queue, _ = await self._open_stores()
        await queue.pause(name)

    async def resume(self, name: str) -> None:
        """Have workers take tasks from the queue again."""
        queue, _ = await self._open_stores()
        await queue.resume(name)

    async def move(self, source: str, target: str) -> int:
        """Put the tasks that wait in one queue into another; says how many. Running tasks stay where they are."""
        queue, _ = await self._open_stores()
        return await queue.move(source, target)

    async def purge(self, name: str, *, status: Statuses | None = None) -> int:
        """Delete tasks of a queue and their results; says how many tasks.

        Args:
            name: The queue.
            status: In this status or these (``"pending"`` empties a queue of what waits); unless given, all that have
                ended but the dead letters.

        Raises:
            OptionError: There is no such status, or running tasks were asked for: cancel them first.
        """
        queue, _ = await self._open_stores()
        return await queue.purge(queue=name, status=status)


async def _oldest(queue: BaseTaskQueue, name: str) -> datetime | None:
    match = Filter(kind=TASK, partition=name, state=TaskStatus.PENDING.value)
    async for records in queue.driver.pages(match, 1):
        if records:
            return to_datetime(records[0].created_at)
    return None
