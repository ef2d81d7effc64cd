"""How far a task or a group has come."""

from __future__ import annotations

from collections.abc import Sequence

from ..models.record import Record
from ..models.result import RESULT, ResultBody, decode_result, result_key
from ..models.task import TaskStatus
from ..parts import Parts
from .model import Json, counts_of, millis_or_none, task_row

_FAILED_SHOWN = 20


class Progress:
    """Watches some tasks. Those that have ended are asked for again only now and then: a retry sets them going.

    Args:
        ids: The tasks.
        title: What the view calls them.
    """

    def __init__(self, ids: Sequence[str], title: str) -> None:
        self.ids = tuple(ids)
        self.title = title
        self._status: dict[str, TaskStatus] = {}
        self._failed: dict[str, Record] = {}
        self._started: int | None = None
        self._finished: int | None = None
        self._told_failure: tuple[str, int, ResultBody | None] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether all have ended."""
        return len(self._status) == len(set(self.ids)) and all(status.is_final for status in self._status.values())

    async def look(self, parts: Parts, *, also_ended: bool) -> Json:
        """How it stands now.

        Args:
            parts: The store.
            also_ended: Also at those that have ended.
        """
        wanted = [key for key in self.ids if also_ended or not self._has_ended(key)]
        records = await parts.queue.records(wanted)
        await self._note(parts, [record for record in records if record is not None])
        return await self._describe(parts)

    def _has_ended(self, key: str) -> bool:
        status = self._status.get(key)
        return status is not None and status.is_final

    async def _note(self, parts: Parts, records: list[Record]) -> None:
        ended: list[Record] = []
        for record in records:
            status = self._status[record.key] = TaskStatus(record.state)
            if status is TaskStatus.FAILED:
                self._failed[record.key] = record
            else:
                self._failed.pop(record.key, None)
            if status.is_final:
                ended.append(record)
                self._finished = max(self._finished or 0, record.updated_at)
            if status is TaskStatus.RUNNING:
                self._began(record.updated_at)
        if self._started is None and ended:
            await self._find_start(parts, min(ended, key=lambda record: record.updated_at))

    def _began(self, moment: int) -> None:
        self._started = moment if self._started is None else min(self._started, moment)

    async def _find_start(self, parts: Parts, record: Record) -> None:
        body = await _result(parts, record)
        self._began(record.updated_at if body is None else body.started_at)

    async def _describe(self, parts: Parts) -> Json:
        counts: dict[str, int] = {}
        for status in self._status.values():
            counts[status.value] = counts.get(status.value, 0) + 1
        # What is not in the store is on its way there, unless it was purged.
        missing = len(self.ids) - sum(counts.values())
        counts["pending"] = counts.get("pending", 0) + missing
        failed = [self._failed[key] for key in sorted(self._failed)[:_FAILED_SHOWN]]
        body = await self._failure(parts, failed[0]) if failed else None
        first = task_row(failed[0])["error"] if failed else None
        return {
            "id": self.ids[0] if self.ids else "",
            "title": self.title,
            "total": len(self.ids),
            "counts": counts_of(counts),
            "started_at": millis_or_none(self._started),
            "finished_at": millis_or_none(self._finished) if self.is_settled else None,
            "error": first,
            "traceback": body.error.traceback if body is not None and body.error is not None else None,
            "failed": [task_row(record) for record in failed],
        }

    async def _failure(self, parts: Parts, record: Record) -> ResultBody | None:
        known = self._told_failure
        if known is None or known[:2] != (record.key, record.version):
            known = self._told_failure = (record.key, record.version, await _result(parts, record))
        return known[2]


async def _result(parts: Parts, record: Record) -> ResultBody | None:
    (result,) = await parts.results.driver.get([(RESULT, result_key(record))])
    return None if result is None else decode_result(result.body)
