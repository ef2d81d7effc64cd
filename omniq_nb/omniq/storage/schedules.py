"""The schedules over any driver: kept, found, changed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..clock import from_datetime
from ..errors import StoreError
from ..models.record import Delete, Filter, Insert, Record, Replace
from ..models.schedule import SCHEDULE, Schedule, ScheduleStatus
from .component import Component

_CONFLICTS = 20

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

    async def change(self, schedule_id: str, change: Callable[[Schedule], Schedule]) -> Schedule | None:
        """Change a schedule; gives it as it is then, or ``None`` if there is none.

        Args:
            schedule_id: Which.
            change: From the schedule as it stands to what it is to be. It is asked again where somebody else, a worker
                that fires the schedule perhaps, has written meanwhile.

        Raises:
            StoreError: Others change it all the time.
        """
        for _ in range(_CONFLICTS):
            (previous,) = await self.driver.get([(SCHEDULE, schedule_id)])
            if previous is None:
                return None
            schedule = change(_decode(previous.body))
            if (await self.driver.write([Replace(self._record(schedule), previous)]))[0]:
                return schedule
        raise StoreError(self.driver.url, f"the schedule {schedule_id!r} is being changed all the time")

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
