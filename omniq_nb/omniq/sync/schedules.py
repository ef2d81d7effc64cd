# Generated from omniq/storage/schedules.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.storage.schedules` without ``await``."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from ..models.schedule import Schedule, ScheduleStatus
from ..storage.schedules import BaseScheduleStorage
from .component import SyncComponent


class SyncScheduleStorage(SyncComponent):
    """The schedules. One that is active is due at its next fire time, so that a claim finds it."""

    _async: BaseScheduleStorage
    _async_class: ClassVar[type[BaseScheduleStorage]] = BaseScheduleStorage

    def add(self, schedule: Schedule) -> bool:
        """Keep a new schedule; says whether its id was free."""
        return self._run(self._async.add(schedule))

    def get(self, schedule_id: str) -> Schedule | None:
        """One schedule."""
        return self._run(self._async.get(schedule_id))

    def change(self, schedule_id: str, change: Callable[[Schedule], Schedule]) -> Schedule | None:
        """Change a schedule; gives it as it is then, or ``None`` if there is none.

        Args:
            schedule_id: Which.
            change: From the schedule as it stands to what it is to be. It is asked again where somebody else, a worker
                that fires the schedule perhaps, has written meanwhile.

        Raises:
            StoreError: Others change it all the time.
        """
        return self._run(self._async.change(schedule_id, change))

    def delete(self, schedule_id: str) -> bool:
        """Forget a schedule; says whether there was one."""
        return self._run(self._async.delete(schedule_id))

    def list_schedules(self, status: ScheduleStatus | None = None) -> list[Schedule]:
        """All schedules, or those of one status, in order of their ids."""
        return self._run(self._async.list_schedules(status))
