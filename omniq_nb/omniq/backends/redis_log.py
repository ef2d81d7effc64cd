"""The event log in Redis: lists of a thousand events, and for each list the span of time that it covers.

A position is the number of a list and an index in it. Trimming leaves a trimmed event's place empty, and drops lists
that are empty altogether, so that positions stay true.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import Columns, EventFilter
from ..storage.driver import Position
from ..storage.events import matches
from . import redis_scripts as scripts
from .redis_codec import moment, packed_text, unpack_events
from .redis_scripts import Run

_LISTS_AT_ONCE = 16
"""Lists that one call looks through."""


async def query(run: Run, match: EventFilter) -> Columns:
    """See `Driver.query`."""
    if match.limit == 0:
        return _columns([])
    spans = await run(
        scripts.LOG_SPANS,
        "-inf" if match.since is None else match.since,
        "+inf" if match.until is None else match.until,
    )
    lists = [(int(number), float(latest)) for number, latest in zip(spans[::2], spans[1::2], strict=True)]
    if match.limit is None:
        return _columns(await _find_all(run, match, sorted(number for number, _ in lists)))
    return _columns(await _find_latest(run, match, lists, match.limit))


async def _find_all(run: Run, match: EventFilter, lists: Sequence[int]) -> list[TaskEvent]:
    events: list[TaskEvent] = []
    for start in range(0, len(lists), _LISTS_AT_ONCE):
        for found in await _find(run, match, lists[start : start + _LISTS_AT_ONCE]):
            events += found
    events.sort(key=lambda event: event.ts)  # stable: among equal moments the order of appending stays
    return events


async def _find_latest(run: Run, match: EventFilter, lists: Sequence[tuple[int, float]], limit: int) -> list[TaskEvent]:
    """From the list with the latest event on, until none can hold a later one."""
    best: list[tuple[int, int, int, TaskEvent]] = []
    for number, latest in lists:
        if len(best) == limit and latest < best[0][0]:
            break
        (found,) = await _find(run, match, [number])
        best += [(event.ts, number, index, event) for index, event in enumerate(found)]
        best.sort(key=lambda each: each[:3])
        del best[: max(0, len(best) - limit)]
    return [event for *_, event in best]


async def _find(run: Run, match: EventFilter, lists: Sequence[int]) -> list[list[TaskEvent]]:
    """The matching events of each list. The server leaves out most of what does not match; here the rest is."""
    texts = [packed_text(text) for text in (match.task_id, match.schedule_id, match.queue) if text is not None]
    types = [each[:-1].encode() if each.endswith(".*") else packed_text(each) for each in match.types]
    found = await run(
        scripts.LOG_FIND,
        b"" if match.since is None else moment(match.since),
        b"" if match.until is None else moment(match.until),
        len(texts), *texts, len(types), *types, *lists,
    )  # fmt: skip
    everything = not texts and not types
    return [[event for event in unpack_events(each) if everything or matches(event, match)] for each in found]


def _columns(events: list[TaskEvent]) -> Columns:
    return {field: [getattr(event, field) for event in events] for field in EVENT_FIELDS}


async def log_end(run: Run, latest: int) -> tuple[list[TaskEvent], Position]:
    """See `Driver.log_end`."""
    number, index, *events = await run(scripts.LOG_END, latest)
    return unpack_events(events), f"{number}-{index}"


async def read_log(run: Run, position: Position, limit: int) -> tuple[list[TaskEvent], Position]:
    """See `Driver.read_log`."""
    number, _, index = position.partition("-")
    number, index, *events = await run(scripts.LOG_READ, int(number), int(index or 0), limit)
    return unpack_events(events), f"{number}-{index}" if events else position


async def trim_log(run: Run, before: int) -> int:
    """See `Driver.trim_log`."""
    trimmed = 0
    while True:
        count, lists = await run(scripts.LOG_TRIM, before)
        trimmed += int(count)
        if not lists:
            return trimmed
