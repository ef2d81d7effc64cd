# Generated from omniq/storage/events.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.storage.events` without ``await``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from ..models.event import TaskEvent
from ..models.record import EventFilter
from ..storage.events import BaseEventStorage
from .component import SyncComponent

if TYPE_CHECKING:
    import polars as pl


class SyncEventStorage(SyncComponent):
    """The event log."""

    _async: BaseEventStorage
    _async_class: ClassVar[type[BaseEventStorage]] = BaseEventStorage

    def append(self, events: Sequence[TaskEvent]) -> None:
        """Add events."""
        self._run(self._async.append(events))

    def frame(self, match: EventFilter | None = None) -> pl.DataFrame:
        """The matching events, one row each, sorted by ``ts``; the store evaluates the filter."""
        return self._run(self._async.frame(match))

    def stream(self, match: EventFilter | None = None, poll_interval: float = 1.0) -> Iterator[TaskEvent]:
        """Events as they come, from now on, for ever."""
        return self._iterate(self._async.stream(match, poll_interval), "stream")
