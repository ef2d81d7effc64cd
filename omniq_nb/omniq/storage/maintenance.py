"""The sweep: what time has ended is expired or deleted, and so are large values whose task is gone or never came.

The sweep is a record that is due again and again, so one worker at a time does it, and if that worker vanishes in the
middle, another one does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..clock import SECOND
from ..core import settlement
from ..core.settlement import Claimed
from ..models.event import TaskEvent
from ..models.record import Delete, Filter, Insert, Record, Replace
from ..models.result import RESULT
from ..models.task import TASK, TaskStatus, spec_of
from .driver import Driver
from .queue import BaseTaskQueue
from .workers import WORKER

MAINTENANCE = "maintenance"
SWEEP_SECONDS = 15
_LEASE = 300 * SECOND
_PAGE = 500


class Maintenance:
    """Sweeps a queue and the stores that belong to it.

    Args:
        queue: Over an open driver.
        results: The results' driver.
        events: The events' driver.
        event_retention: Seconds that events are kept, or ``None``.
    """

    def __init__(
        self, queue: BaseTaskQueue, results: Driver, events: Driver, event_retention: float | None = None
    ) -> None:
        self._queue = queue
        self._driver = queue.driver
        self._results = results
        self._events = events
        self._retention = event_retention

    async def run_if_due(self, owner: str) -> bool:
        """Sweep if it is time and nobody else does; says whether it did."""
        claimed = await self._driver.claim(MAINTENANCE, None, owner, 1, _LEASE)
        if not claimed:
            await self._create()
            return False
        (record,) = claimed
        try:
            await self.sweep()
        finally:
            # Also when it broke off: who comes next need not wait for the end of the lease.
            now = self._driver.clock()
            await self._driver.write([Replace(_sweep_record(now, now + SWEEP_SECONDS * SECOND), record)])
        return True

    async def _create(self) -> None:
        if (await self._driver.get([(MAINTENANCE, "sweep")]))[0] is None:
            now = self._driver.clock()
            await self._driver.write([Insert(_sweep_record(now, now))])

    async def sweep(self) -> None:
        """Expire and delete what is over now, and some of the large values that nobody wants."""
        now = self._driver.clock()
        await self._each_page(self._driver, TASK, now, self._end_tasks)
        await self._each_page(self._results, RESULT, now, self._delete_from(self._results))
        await self._each_page(self._driver, WORKER, now, self._remove_workers)
        if self._retention is not None:
            await self._events.trim_log(now - round(self._retention * SECOND))
        if self._queue.large is not None:
            await self._queue.large.sweep()

    async def _each_page(
        self, driver: Driver, kind: str, now: int, handle: Callable[[list[Record]], Awaitable[object]]
    ) -> None:
        async for records in driver.pages(Filter(kind=kind, expires_before=now), _PAGE):
            if records:
                await handle(records)

    async def _end_tasks(self, records: list[Record]) -> None:
        now = self._driver.clock()
        over = [record for record in records if TaskStatus(record.state).is_final]
        waiting = [record for record in records if record.state in (TaskStatus.PENDING, TaskStatus.BLOCKED)]
        await self._queue.delete(over)
        expired = [settlement.expire(Claimed(record, spec_of(record)), now) for record in waiting]
        await self._queue.settle_all(expired)

    def _delete_from(self, driver: Driver) -> Callable[[list[Record]], Awaitable[object]]:
        return lambda records: driver.write([Delete(record) for record in records])

    async def _remove_workers(self, records: list[Record]) -> None:
        now = self._driver.clock()
        gone = await self._driver.write([Delete(record) for record in records])
        events = tuple(
            TaskEvent(now, "worker.lost", worker=record.key)
            for record, deleted in zip(records, gone, strict=True)
            if deleted
        )
        await self._queue.outbox.tell(events)


def _sweep_record(now: int, due_at: int) -> Record:
    return Record(MAINTENANCE, "sweep", "", "pending", 0, due_at, None, 0, 1, now, now, None, b"")
