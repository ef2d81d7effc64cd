"""The event log in SQLite: in segments, each of them the events of one transaction as one row.

A row per event would cost a task as much as all else that is written for it. Segments know the span of time that they
cover, so a query decodes only those that its span touches; the other conditions are evaluated as they are decoded.
There is no index on the spans: a million of them are looked through in a tenth of a second, and an index would have
every small transaction write one page more. Events are numbered in the order in which they are appended: a position in
the log is the number of events before it. A number is never given twice, so the last one stays when its event goes: as
an empty segment that lies beyond all times.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import Columns, EventFilter
from ..storage.events import matches
from .sqlite_schema import execute_patiently

_SEGMENT = 1000
"""Events in one segment at most, so that reading a few does not decode many."""

_END = "SELECT coalesce((SELECT first + n FROM events ORDER BY first DESC LIMIT 1), 0)"
_BEYOND_ALL_TIMES = 2**63 - 1
_INTO = "INSERT INTO events (first, n, min_ts, max_ts, body) VALUES"
_INSERT = f"{_INTO} (?, ?, ?, ?, ?)"
APPEND = f"{_INTO} (({_END}), ?, ?, ?, ?)"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[TaskEvent]).decode


Row = tuple[int, int, int, bytes]
"""A segment's length, its first and last moment, and its events."""


def rows_of(events: Sequence[TaskEvent]) -> list[Row]:
    """Events as rows to `append`."""
    return [_row(events[start : start + _SEGMENT]) for start in range(0, len(events), _SEGMENT)]


def append(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Add events, inside a transaction."""
    for row in rows:
        connection.execute(APPEND, row)


def _row(segment: Sequence[TaskEvent]) -> Row:
    moments = [event.ts for event in segment]
    return len(segment), min(moments), max(moments), _encode(segment)


def _end(connection: sqlite3.Connection) -> int:
    end: int = connection.execute(_END).fetchone()[0]
    return end


def query(connection: sqlite3.Connection, match: EventFilter) -> Columns:
    """See `Driver.query`."""
    events = _latest(connection, match, match.limit) if match.limit is not None else list(_matching(connection, match))
    events.sort(key=lambda event: event.ts)  # stable: among equal moments the order of appending stays
    return {field: [getattr(event, field) for event in events] for field in EVENT_FIELDS}


def _matching(connection: sqlite3.Connection, match: EventFilter) -> Iterator[TaskEvent]:
    where, values = _span(match)
    everything = match == EventFilter()
    for (body,) in connection.execute(f"SELECT body FROM events{where} ORDER BY first", values):
        for event in _decode(body):
            if everything or matches(event, match):
                yield event


def _latest(connection: sqlite3.Connection, match: EventFilter, limit: int) -> list[TaskEvent]:
    """The ``limit`` latest matching events: segments from the youngest on, until none can hold a later one."""
    where, values = _span(match)
    sql = f"SELECT first, max_ts, body FROM events{where} ORDER BY max_ts DESC, first DESC"
    found: list[tuple[int, int, TaskEvent]] = []
    cursor = connection.execute(sql, values)
    for first, max_ts, body in cursor:
        if len(found) >= limit and (not limit or max_ts < found[-1][0]):
            break
        numbered = enumerate(_decode(body), start=first)
        found += [(event.ts, number, event) for number, event in numbered if matches(event, match)]
        found.sort(key=lambda each: each[:2], reverse=True)
        del found[limit:]
    cursor.close()  # an open cursor would pin its snapshot of the store
    return [event for _, _, event in reversed(found)]


def _span(match: EventFilter) -> tuple[str, list[int]]:
    conditions: list[str] = []
    values: list[int] = []
    if match.since is not None:
        conditions.append("max_ts >= ?")
        values.append(match.since)
    if match.until is not None:
        conditions.append("min_ts < ?")
        values.append(match.until)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def log_end(connection: sqlite3.Connection, latest: int) -> tuple[list[TaskEvent], int]:
    """See `Driver.log_end`."""
    end = _end(connection)
    return read_log(connection, max(0, end - latest), latest) if latest else ([], end)


def read_log(connection: sqlite3.Connection, position: int, limit: int) -> tuple[list[TaskEvent], int]:
    """See `Driver.read_log`."""
    events: list[TaskEvent] = []
    # The segment that holds the position may begin before it, by less than a segment's length.
    cursor = connection.execute(
        "SELECT first, n, body FROM events WHERE first > ? AND first + n > ? ORDER BY first",
        (position - _SEGMENT, position),
    )
    for first, n, body in cursor:
        rest = _decode(body)[max(position - first, 0) :]
        if len(rest) > limit - len(events):
            rest = rest[: limit - len(events)]
            events += rest
            position = max(first, position) + len(rest)
            break
        events += rest
        position = first + n
    cursor.close()
    return events, position


def trim(connection: sqlite3.Connection, before: int, segments: int) -> int:
    """Delete the events before a moment from up to so many segments; says how many went, 0 when none are left."""
    execute_patiently(connection, "BEGIN IMMEDIATE")
    try:
        trimmed = _trim(connection, before, segments)
    except BaseException:
        # A transaction that is left open would hold the write lock against everybody.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return trimmed


def _trim(connection: sqlite3.Connection, before: int, segments: int) -> int:
    trimmed = 0
    end = _end(connection)
    rows = connection.execute(
        "SELECT first, n, max_ts, body FROM events WHERE min_ts < ? ORDER BY min_ts LIMIT ?", (before, segments)
    ).fetchall()
    for first, n, max_ts, body in rows:
        connection.execute("DELETE FROM events WHERE first = ?", (first,))
        runs = [] if max_ts < before else _kept(_decode(body), first, before)
        for start, kept in runs:
            connection.execute(_INSERT, (start, *_row(kept)))
        trimmed += n - sum(len(kept) for _, kept in runs)
    if rows and _end(connection) < end:
        last = (end - 1, 1, _BEYOND_ALL_TIMES, _BEYOND_ALL_TIMES, _encode([]))
        connection.execute(_INSERT, last)
        connection.execute("DELETE FROM events WHERE min_ts = ? AND first < ?", (_BEYOND_ALL_TIMES, end - 1))
    return trimmed


def _kept(events: list[TaskEvent], first: int, before: int) -> list[tuple[int, list[TaskEvent]]]:
    """What a partly trimmed segment leaves: runs of events that keep their numbers, each to be a segment."""
    runs: list[tuple[int, list[TaskEvent]]] = []
    for number, event in enumerate(events, start=first):
        if event.ts < before:
            continue
        if not runs or runs[-1][0] + len(runs[-1][1]) != number:
            runs.append((number, []))
        runs[-1][1].append(event)
    return runs
