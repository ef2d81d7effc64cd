"""The events over any driver: as polars frames, and as a live stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from ..models.event import TaskEvent
from ..models.record import Append, EventFilter
from .component import Component

if TYPE_CHECKING:
    import polars as pl


class BaseEventStorage(Component):
    """The event log."""

    async def append(self, events: Sequence[TaskEvent]) -> None:
        """Add events."""
        await self.driver.write([Append(tuple(events))])

    async def frame(self, match: EventFilter | None = None) -> pl.DataFrame:
        """The matching events, one row each, sorted by ``ts``; the store evaluates the filter."""
        import polars as pl

        columns = await self.driver.query(match or EventFilter())
        schema: dict[str, pl.datatypes.DataTypeClass | pl.DataType] = {
            "ts": pl.Datetime("us", "UTC"),
            "event_type": pl.String,
            "task_id": pl.String,
            "func": pl.String,
            "queue": pl.String,
            "worker": pl.String,
            "attempt": pl.UInt16,
            "duration": pl.Float64,
            "schedule_id": pl.String,
            "data": pl.String,
        }
        # What a column's type can't hold (the attempts of a task that polls for a year) shows as the most that it can.
        whole = {name: pl.Series(name, columns.pop(name), pl.Int64) for name in ("ts", "attempt")}
        attempt = whole["attempt"].clip(0, 2**16 - 1).cast(pl.UInt16)
        rest = [pl.Series(name, column, schema[name]) for name, column in columns.items()]
        return pl.DataFrame([whole["ts"].cast(schema["ts"]), attempt, *rest]).select(*schema)

    async def stream(self, match: EventFilter | None = None, poll_interval: float = 1.0) -> AsyncIterator[TaskEvent]:
        """Events as they come, from now on, for ever."""
        match = match or EventFilter()
        async for batch in self.driver.follow(poll_interval):
            for event in batch:
                if matches(event, match):
                    yield event


def matches(event: TaskEvent, match: EventFilter) -> bool:
    """Whether an event fulfils every condition that is set, ``limit`` aside."""
    return (
        match.task_id in (None, event.task_id)
        and match.schedule_id in (None, event.schedule_id)
        and match.queue in (None, event.queue)
        and (match.since is None or event.ts >= match.since)
        and (match.until is None or event.ts < match.until)
        and (not match.types or any(_is_type(event.event_type, wanted) for wanted in match.types))
    )


def _is_type(event_type: str, wanted: str) -> bool:
    return event_type.startswith(wanted[:-1]) if wanted.endswith(".*") else event_type == wanted
