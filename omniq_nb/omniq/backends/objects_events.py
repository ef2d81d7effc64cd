"""The event log in an object store: the youngest events in memory, the older ones in segments.

Events arrive in commits, which number them in the order in which they were appended: a position is the number of events
before it. Upkeep moves them into segments, of a few thousand each, and many segments into one Parquet file, which a
query scans with its conditions pushed down.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import StoreCorruptError
from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import Columns, EventFilter
from ..storage.driver import Position
from ..storage.events import matches
from .objects_format import PARQUET, Segment, SegmentBody, unpack
from .objects_log import Log
from .objects_state import Replica, State

if TYPE_CHECKING:
    import polars as pl

_TRIES = 5
_SEGMENTS_FOR_END = 4
"""`Driver.log_end` reads no more."""

Numbered = tuple[int, TaskEvent]


class Events:
    """Reads the event log.

    Args:
        url: For messages.
        log: Where segments are read.
        replica: Knows them.
    """

    def __init__(self, url: str, log: Log, replica: Replica) -> None:
        self._url = url
        self._log = log
        self._replica = replica

    # --- what the driver offers ---

    async def query(self, match: EventFilter) -> Columns:
        """See `Driver.query`."""
        found = [(event.ts, number, event) for number, event in await self._matching(match)]
        found.sort(key=lambda each: each[:2])
        if match.limit is not None:
            found = found[-match.limit :] if match.limit else []
        return {field: [getattr(event, field) for _, _, event in found] for field in EVENT_FIELDS}

    async def end(self, latest: int) -> tuple[list[TaskEvent], Position]:
        """See `Driver.log_end`."""
        await self._log.refresh()
        with self._replica.lock:
            state = self._replica.state
            end = state.events_end
            events = [event for event in state.tail[-latest:] if event is not None] if latest else []
            segments = state.segments[-_SEGMENTS_FOR_END:]
        for segment in reversed(segments):
            if len(events) >= latest:
                break
            older = [event for _, event in await self._of(segment) or ()]
            events = (older + events)[-latest:]
        return events, str(end)

    async def read(self, position: Position, limit: int) -> tuple[list[TaskEvent], Position]:
        """See `Driver.read_log`."""
        await self._log.refresh()
        for _ in range(_TRIES):
            found = await self._read(int(position), limit)
            if found is not None:
                return found
            await self._log.refresh()  # a segment has gone into another one
        raise self._missing()

    async def count_before(self, before: int) -> tuple[int, int]:
        """How many events there are with ``ts`` before a moment, and the number of the next event."""
        numbered = await self._matching(EventFilter(until=before))
        with self._replica.lock:
            end = self._replica.state.events_end
        return sum(number < end for number, _ in numbered), end

    # --- how ---

    async def _read(self, position: int, limit: int) -> tuple[list[TaskEvent], Position] | None:
        with self._replica.lock:
            state = self._replica.state
            segments = [segment for segment in state.segments if segment.end > position]
            first, tail = state.tail_first, state.tail[max(position - state.tail_first, 0) :]
            first = max(first, position)
            end = state.events_end
        events: list[TaskEvent] = []
        for segment in segments:
            numbered = await self._of(segment)
            if numbered is None:
                return None
            for number, event in numbered:
                if number < position:
                    continue
                if len(events) == limit:
                    return events, str(number)
                events.append(event)
        for number, event_or_none in enumerate(tail, start=first):
            if event_or_none is None:
                continue
            if len(events) == limit:
                return events, str(number)
            events.append(event_or_none)
        return events, str(end)

    async def _matching(self, match: EventFilter) -> list[Numbered]:
        await self._log.refresh()
        for _ in range(_TRIES):
            with self._replica.lock:
                state = self._replica.state
                tail = enumerate(state.tail, start=state.tail_first)
                found = [(n, event) for n, event in tail if event is not None and matches(event, match)]
                segments = [segment for segment in state.segments if _may_hold(segment, match)]
            older = await self._matching_in(segments, match, found)
            if older is not None:
                return older + found
            await self._log.refresh()
        raise self._missing()

    async def _matching_in(
        self, segments: list[Segment], match: EventFilter, found: list[Numbered]
    ) -> list[Numbered] | None:
        """What the segments hold, the youngest first, until none can hold a later event than those found."""
        older: list[Numbered] = []
        limit = match.limit
        waiting = sorted(segments, key=lambda each: each.max_ts, reverse=True)
        # Side by side, as each is a request. Where a few events are wanted, the first segment mostly holds them.
        at_once = self._log.parallel if limit is None else 1
        while waiting:
            if limit is not None and len(found) + len(older) >= limit:
                moments = sorted((event.ts for _, event in (*older, *found)), reverse=True)
                waiting = [each for each in waiting if limit and each.max_ts >= moments[limit - 1]]
            stretch, waiting = waiting[:at_once], waiting[at_once:]
            data = await self._log.get_all([segment.name for segment in stretch])
            for segment, each in zip(stretch, data, strict=True):
                if each is None:
                    return None
                older += await self._in(segment, each, match)
            at_once = min(2 * at_once, self._log.parallel)
        return older

    async def _of(self, segment: Segment) -> list[Numbered] | None:
        """A segment's events, but for those that were trimmed; ``None``: it is gone."""
        data = await self._log.get(segment.name)
        return None if data is None else await self._in(segment, data, None)

    async def _in(self, segment: Segment, data: bytes, match: EventFilter | None) -> list[Numbered]:
        """A segment's events that match, but for those that were trimmed."""
        if segment.name.endswith(PARQUET):
            numbered = await asyncio.to_thread(from_parquet, data, match)
        else:
            numbered = events_of(data, self._url, segment.name)
            if match is not None:
                numbered = [each for each in numbered if matches(each[1], match)]
        with self._replica.lock:
            state = self._replica.state
            return untrimmed(state, numbered)

    def _missing(self) -> StoreCorruptError:
        return StoreCorruptError(self._url, "an object with events is missing")


def untrimmed(state: State, numbered: list[Numbered]) -> list[Numbered]:
    """Without the events that are gone."""
    if not state.trims:
        return numbered
    return [each for each in numbered if not state.is_trimmed(each[0], each[1].ts)]


def events_of(data: bytes, url: str, name: str) -> list[Numbered]:
    """What a segment's object holds, unless it is a Parquet file."""
    body = unpack(data, SegmentBody, url, name)
    return list(zip(body.numbers, body.events, strict=True))


def _may_hold(segment: Segment, match: EventFilter) -> bool:
    return (
        (match.since is None or segment.max_ts >= match.since)
        and (match.until is None or segment.min_ts < match.until)
        and (match.task_id is None or _may_hold_task(segment, match.task_id))
    )


def _may_hold_task(segment: Segment, task_id: str) -> bool:
    if segment.min_task is None or segment.max_task is None:
        return True
    return segment.min_task <= task_id <= segment.max_task


# --- Parquet; polars is imported by who needs it ---


def to_parquet(numbered: Sequence[Numbered]) -> bytes:
    """Events as a Parquet file; takes a while, so call it in a thread."""
    import polars as pl

    schema: dict[str, Any] = dict.fromkeys(EVENT_FIELDS, pl.String)
    schema |= {"ts": pl.Int64, "attempt": pl.Int64, "duration": pl.Float64}
    columns: dict[str, Any] = {"number": pl.Series([number for number, _ in numbered], dtype=pl.Int64)}
    for field in EVENT_FIELDS:
        columns[field] = pl.Series([getattr(event, field) for _, event in numbered], dtype=schema[field])
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file, compression="zstd", row_group_size=20_000)
    return file.getvalue()


def from_parquet(data: bytes, match: EventFilter | None = None) -> list[Numbered]:
    """A Parquet file's events that match; takes a while, so call it in a thread."""
    return [(row[0], TaskEvent(*row[1:])) for row in scan_of(data, match).collect().rows()]


def scan_of(data: bytes, match: EventFilter | None = None) -> pl.LazyFrame:
    """What reads a Parquet file. It is held in memory as a whole: it has some 300 kB, which is one request's work."""
    import polars as pl

    frame = pl.scan_parquet(io.BytesIO(data))
    if match is not None:
        frame = frame.filter(*_conditions(match))
    return frame.select("number", *EVENT_FIELDS)


def _conditions(match: EventFilter) -> Iterable[pl.Expr]:
    import polars as pl

    yield pl.lit(value=True)
    for field in ("task_id", "schedule_id", "queue"):
        if (wanted := getattr(match, field)) is not None:
            yield pl.col(field) == wanted
    if match.since is not None:
        yield pl.col("ts") >= match.since
    if match.until is not None:
        yield pl.col("ts") < match.until
    if match.types:
        kind = pl.col("event_type")
        yield pl.any_horizontal(
            kind.str.starts_with(wanted[:-1]) if wanted.endswith(".*") else kind == wanted for wanted in match.types
        )
