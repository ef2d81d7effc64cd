"""Questions to the event log: which segments they concern, and what of those segments answers them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import islice

from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import Columns, EventFilter
from ..storage.events import matches
from .nats_segments import Segment
from .nats_store import Store

_AT_ONCE = 64
"""Segments that are fetched at a time."""

Place = tuple[int, int]
"""A position in the log: a segment, and how many of its events are before it."""


def parse_position(text: str) -> Place:
    """A position as `Driver.read_log` takes it."""
    at, _, n = text.partition(".")
    return int(at), int(n or 0)


def format_position(place: Place) -> str:
    """A position as `Driver.read_log` gives it."""
    return f"{place[0]}.{place[1]}"


async def _read(store: Store, segments: Sequence[Segment]) -> AsyncIterator[tuple[Segment, list[TaskEvent]]]:
    for start in range(0, len(segments), _AT_ONCE):
        some = segments[start : start + _AT_ONCE]
        for segment, events in zip(some, await store.read_events(some), strict=True):
            yield segment, events


async def query(store: Store, match: EventFilter) -> Columns:
    """See `Driver.query`."""
    segments = list(store.replica.segments.touching(match.since, match.until))
    if match.limit is None:
        events = [
            event
            async for segment, some in _read(store, segments)
            for event in some
            if event.ts >= segment.low and matches(event, match)
        ]
    else:
        events = await _latest(store, segments, match, match.limit)
    events.sort(key=lambda event: event.ts)  # stable: among equal moments the order of appending stays
    return {field: [getattr(event, field) for event in events] for field in EVENT_FIELDS}


async def _latest(store: Store, segments: list[Segment], match: EventFilter, limit: int) -> list[TaskEvent]:
    """The ``limit`` latest matching events: segments from the youngest on, until none can hold a later one."""
    segments.sort(key=lambda segment: (segment.high, segment.at), reverse=True)
    found: list[tuple[int, int, int, TaskEvent]] = []
    for start in range(0, len(segments), _AT_ONCE):
        if len(found) >= limit and (not limit or segments[start].high < found[-1][0]):
            break
        async for segment, events in _read(store, segments[start : start + _AT_ONCE]):
            found += [
                (event.ts, segment.at, n, event)
                for n, event in enumerate(events)
                if event.ts >= segment.low and matches(event, match)
            ]
        found.sort(key=lambda each: each[:3], reverse=True)
        del found[limit:]
    return [event for *_, event in reversed(found)]


async def read_log(store: Store, position: Place, limit: int) -> tuple[list[TaskEvent], Place]:
    """See `Driver.read_log`."""
    found: list[TaskEvent] = []
    at, taken = position
    following = store.replica.segments.after(at)
    while len(found) < limit and (some := list(islice(following, _AT_ONCE))):
        async for segment, events in _read(store, some):
            start = taken if segment.at == at else 0
            for n, event in enumerate(events[start:], start):
                if len(found) >= limit:
                    return found, position
                if event.ts >= segment.low:
                    found.append(event)
                position = (segment.at, n + 1)
    return found, position


async def log_end(store: Store, latest: int) -> tuple[list[TaskEvent], Place]:
    """See `Driver.log_end`."""
    segments, end = list(store.replica.segments.last(latest)), store.replica.segments.end
    events = [event async for segment, some in _read(store, segments) for event in some if event.ts >= segment.low]
    return events[max(0, len(events) - latest) :], end


async def count_before(store: Store, moment: int) -> dict[int, int]:
    """How many events before a moment those segments have of which a trim would leave a part."""
    partly = store.replica.segments.partly_before(moment)
    return {
        segment.at: sum(segment.low <= event.ts < moment for event in events)
        async for segment, events in _read(store, partly)
    }
