"""The workers' registrations over any driver: who serves which queues, and who has gone silent."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ..clock import SECOND, to_datetime
from ..models.event import TaskEvent
from ..models.record import Delete, Filter, Insert, Record, Replace
from .driver import Driver
from .outbox import Outbox, write_with_event

WORKER = "worker"
"""Kind of a worker's record."""
ALIVE, GONE_AFTER = "alive", 60 * SECOND


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker pool as it last reported.

    Attributes:
        id: Its name; owner of its claims.
        host: The machine.
        pid: The process.
        type: ``async``, ``thread`` ...
        concurrency: Tasks at a time.
        running: Tasks now.
        queues: In order of preference; empty: all.
        started_at: When it began.
        seen_at: When it last reported.
    """

    id: str
    host: str
    pid: int
    type: str
    concurrency: int
    running: int
    queues: tuple[str, ...]
    started_at: datetime
    seen_at: datetime


class WorkerRegistry:
    """Registrations over drivers that are open.

    Args:
        driver: The tasks' store, where the registrations are.
        outbox: Takes its events.
    """

    def __init__(self, driver: Driver, outbox: Outbox) -> None:
        self._driver = driver
        self._outbox = outbox
        self._own: dict[str, Record] = {}

    async def report(self, info: WorkerInfo) -> None:
        """Register a worker, or say that it is still there."""
        now = self._driver.clock()
        body = msgspec.msgpack.encode(info)
        previous = self._own.get(info.id)
        created_at = now if previous is None else previous.created_at
        record = Record(WORKER, info.id, "", ALIVE, 0, None, None, 0, 1, created_at, now, now + GONE_AFTER, body)
        if previous is None:
            event = TaskEvent(now, "worker.started", worker=info.id)
            applied = await write_with_event(self._driver, self._outbox, Insert(record), event)
        else:
            record.version = previous.version + 1
            applied = (await self._driver.write([Replace(record, previous)]))[0]
        if applied:
            self._own[info.id] = record
        else:
            # Maintenance took it for gone (a suspended laptop), or the connection broke after a report arrived: go on
            # from what is there.
            (there,) = await self._driver.get([(WORKER, info.id)])
            self._own.pop(info.id, None)
            if there is not None:
                self._own[info.id] = there
            await self.report(info)

    async def leave(self, worker_id: str) -> None:
        """Take a worker's registration back."""
        record = self._own.pop(worker_id, None)
        if record is not None:
            event = TaskEvent(self._driver.clock(), "worker.stopped", worker=worker_id)
            await write_with_event(self._driver, self._outbox, Delete(record), event)

    async def list_workers(self) -> list[WorkerInfo]:
        """The workers that have reported lately."""
        found = [record async for records in self._driver.pages(Filter(kind=WORKER)) for record in records]
        now = self._driver.clock()
        return [_info(record) for record in found if record.expires_at is None or record.expires_at > now]


def _info(record: Record) -> WorkerInfo:
    info = msgspec.msgpack.decode(record.body, type=WorkerInfo)
    return msgspec.structs.replace(info, seen_at=to_datetime(record.updated_at))
