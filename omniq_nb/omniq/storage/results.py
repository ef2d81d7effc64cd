"""The results over any driver: what became of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..core.lifecycle import is_doomed
from ..models.record import Record
from ..models.result import RESULT, ResultBody, decode_result, first_result_key, result_key
from ..models.task import TASK, TaskStatus
from .component import Component
from .driver import Driver


class StoredOutcome(msgspec.Struct, frozen=True):
    """A task that has ended, and its result's body if its state has one."""

    task: Record
    result: ResultBody | None


class BaseResultStorage(Component):
    """Reads results. A result counts only if its task's record names the attempt that it belongs to.

    Args:
        store: The results' driver, URL or path.
        tasks: The tasks' driver; the results' unless given.
        **options: For a driver made from a URL.
    """

    def __init__(self, store: Driver | str | Path, *, tasks: Driver | None = None, **options: Any) -> None:
        super().__init__(store, **options)
        self._tasks = tasks or self.driver

    async def outcomes(self, task_ids: Sequence[str]) -> list[StoredOutcome | Record | None]:
        """What each task has come to: its outcome, its record while it goes on, ``None`` if there is no such task.

        One that is being deleted is none any more: its result may be gone already.
        """
        firsts: dict[str, str] = {}
        if self._tasks is self.driver:
            # Most tasks have ids of our own and end at their first attempt, so its result comes in the same round trip.
            firsts = {task_id: key for task_id in task_ids if (key := first_result_key(task_id)) is not None}
        keys = [(TASK, task_id) for task_id in task_ids] + [(RESULT, key) for key in firsts.values()]
        found = await self._tasks.get(keys)
        records, results = found[: len(task_ids)], dict(zip(firsts, found[len(task_ids) :], strict=True))
        wanted = [record for record in records if record is not None and _has_result(record)]
        later = [record for record in wanted if record.claims != 1 or results.get(record.key) is None]
        if later:
            found = await self.driver.get([(RESULT, result_key(record)) for record in later])
            results |= {record.key: result for record, result in zip(later, found, strict=True)}
        return [_outcome(record, results) for record in records]


def _has_result(record: Record) -> bool:
    return record.state in (TaskStatus.SUCCEEDED, TaskStatus.FAILED)


def _outcome(record: Record | None, results: dict[str, Record | None]) -> StoredOutcome | Record | None:
    if record is None or is_doomed(record):
        return None
    if not TaskStatus(record.state).is_final:
        return record
    if not _has_result(record):
        return StoredOutcome(record, None)
    # Written before its task, a result that is not there has been deleted since the task was read.
    result = results.get(record.key)
    return None if result is None else StoredOutcome(record, decode_result(result.body))
