"""The schedules over any driver: kept, found, changed."""

from __future__ import annotations

import msgspec

from ..clock import from_datetime
from ..models.record import Delete, Filter, Insert, Record, Replace
from ..models.schedule import SCHEDULE, Schedule, ScheduleStatus
from .component import Component

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Schedule).decode


class BaseScheduleStorage(Component):
    """The schedules. One that is active is due at its next fire time, so that a claim finds it."""

    async def add(self, schedule: Schedule) -> bool:
        """Keep a new schedule; says whether its id was free."""
        return (await self.driver.write([Insert(self._record(schedule))]))[0]

    async def get(self, schedule_id: str) -> Schedule | None:
        """One schedule."""
        (record,) = await self.driver.get([(SCHEDULE, schedule_id)])
        return None if record is None else _decode(record.body)

    async def update(self, schedule: Schedule) -> bool:
        """Put a schedule in the place of the stored one with its id; says whether there was one."""
        (previous,) = await self.driver.get([(SCHEDULE, schedule.id)])
        if previous is None:
            return False
        return (await self.driver.write([Replace(self._record(schedule), previous)]))[0]

    async def delete(self, schedule_id: str) -> bool:
        """Forget a schedule; says whether there was one."""
        (previous,) = await self.driver.get([(SCHEDULE, schedule_id)])
        return previous is not None and (await self.driver.write([Delete(previous)]))[0]

    async def list_schedules(self, status: ScheduleStatus | None = None) -> list[Schedule]:
        """All schedules, or those of one status, in order of their ids."""
        match = Filter(kind=SCHEDULE, state=None if status is None else status.value)
        return [_decode(record.body) async for records in self.driver.pages(match) for record in records]

    def _record(self, schedule: Schedule) -> Record:
        now = self.driver.clock()
        active = schedule.status is ScheduleStatus.ACTIVE and schedule.next_run_at is not None
        due_at = from_datetime(schedule.next_run_at, "next_run_at") if active and schedule.next_run_at else None
        created_at = from_datetime(schedule.created_at, "created_at")
        return Record(
            SCHEDULE, schedule.id, "", schedule.status.value, 0, due_at, None, 0, 1, created_at, now, None,
            _encode(schedule),
        )  # fmt: skip
