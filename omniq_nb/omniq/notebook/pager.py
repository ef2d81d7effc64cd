"""Where a view stands in the list of tasks: which filter, which page."""

from __future__ import annotations

from typing import Any

from ..errors import OptionError
from ..models.record import Filter
from ..models.task import TASK, TaskStatus
from .model import STATUSES, Json

PAGE = 50


class Pager:
    """Pages are reached one after the other, so the cursors of those before are kept."""

    def __init__(self) -> None:
        self.status: str | None = None
        self.queue: str | None = None
        self.func: str | None = None
        self.page = 0
        self._cursors: list[str | None] = [None]

    def turn(self, page: Any, wanted: Any) -> None:
        """Go to a page of what a filter lets through.

        Raises:
            OptionError: The filter names a status that does not exist.
        """
        wanted = wanted if isinstance(wanted, dict) else {}
        status = _text(wanted.get("status"))
        if status is not None and status not in STATUSES:
            raise OptionError(f"no status {status!r}: the statuses are {', '.join(TaskStatus)}")
        chosen = status, _text(wanted.get("queue")), _text(wanted.get("func"))
        if chosen != (self.status, self.queue, self.func):
            self.status, self.queue, self.func = chosen
            self._cursors = [None]
        page = page if isinstance(page, int) else 0
        self.page = max(0, min(page, len(self._cursors) - 1))

    @property
    def match(self) -> Filter:
        """What a store can filter by."""
        return Filter(kind=TASK, partition=self.queue, state=self.status, newest_first=True)

    @property
    def cursor(self) -> str | None:
        """Where the page begins."""
        return self._cursors[self.page]

    def goes_on_at(self, cursor: str | None) -> None:
        """Where the next page begins, if there is one."""
        del self._cursors[self.page + 1 :]
        if cursor is not None:
            self._cursors.append(cursor)

    def describe(self, rows: list[Json]) -> Json:
        """The page as the view sees it."""
        return {
            "rows": rows,
            "filter": {"status": self.status, "queue": self.queue, "func": self.func},
            "page": self.page,
            "has_next": len(self._cursors) > self.page + 1,
        }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
