"""The event log in PostgreSQL: a row per event, in the order of (transaction id, number).

A transaction that began early may commit late, after a reader has passed its place. So a position is the place of the
last event read, and with it the transactions before that place that were still under way: their events are read once
they are there. Nobody has to wait for anybody's long transaction, and writers need no common lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import Columns, EventFilter
from ..storage.driver import Position
from .postgres_read import Statement

_FIELDS = ", ".join(EVENT_FIELDS)
_WITH_SNAPSHOT = (
    f"SELECT snapshot, e.xid::text, e.id, {_FIELDS} FROM (SELECT pg_current_snapshot()::text AS snapshot) AS now "
    "LEFT JOIN LATERAL"
)


class Place(msgspec.Struct, frozen=True):
    """A position in the log: everything up to it has been read, but for what was under way.

    Attributes:
        xid: Transaction of the last event read.
        id: Its number.
        under_way: Earlier transactions that had not ended, and the number of the last event read of each.
    """

    xid: int
    id: int
    under_way: dict[int, int]

    @classmethod
    def parse(cls, position: Position) -> Place:
        """What `__str__` gave."""
        first, *rest = [_pair(part) for part in position.split(",")]
        return cls(*first, dict(rest))

    def __str__(self) -> str:
        return ",".join([f"{self.xid}.{self.id}", *(f"{xid}.{last}" for xid, last in self.under_way.items())])


def _pair(text: str) -> tuple[int, int]:
    xid, _, number = text.partition(".")
    return int(xid), int(number or 0)


def _unfinished(snapshot: str) -> list[int]:
    """The transactions that were under way in a snapshot, as PostgreSQL writes it: ``xmin:xmax:xid,xid``."""
    return [int(xid) for xid in snapshot.rpartition(":")[2].split(",") if xid]


# --- in the order of appending ---


def log_end(schema: str, latest: int) -> Statement:
    """The last event, which makes the position, and some before it; rows as of `read_log`."""
    return Statement(
        f"{_WITH_SNAPSHOT} (SELECT xid, id, {_FIELDS} FROM {schema}.events ORDER BY xid DESC, id DESC LIMIT $1"
        ") AS e ON true ORDER BY e.xid, e.id",
        [max(latest, 1)],
    )


def end_of(rows: Sequence[Sequence[Any]], latest: int) -> tuple[list[TaskEvent], Position]:
    """What `log_end` found."""
    snapshot, xid, number, *_ = rows[-1]
    if xid is None:
        return [], str(Place(0, 0, {}))
    under_way = {each: 0 for each in _unfinished(snapshot) if each < int(xid)}
    return _events(rows[len(rows) - latest :]), str(Place(int(xid), number, under_way))


def read_log(schema: str, place: Place, limit: int) -> Statement:
    """What follows a place: first what was under way then, each row after the snapshot it was found in."""
    sql = f"SELECT xid, id, {_FIELDS} FROM {schema}.events WHERE (xid, id) > ($1::text::xid8, $2)"
    values: list[Any] = [str(place.xid), place.id, limit]
    order = "ORDER BY xid, id LIMIT $3"
    found = f"{sql} {order}"
    if place.under_way:
        values += [[str(xid) for xid in place.under_way], list(place.under_way.values())]
        late = (
            f"SELECT e.xid, id, {_FIELDS} FROM unnest($4::text[]::xid8[], $5::bigint[]) AS late(xid, last) "
            f"JOIN {schema}.events AS e ON e.xid = late.xid AND e.id > late.last"
        )
        found = f"SELECT * FROM (({late} {order}) UNION ALL ({found})) AS both_of_them {order}"
    return Statement(
        f"{_WITH_SNAPSHOT} ({found}) AS e ON true ORDER BY e.xid, e.id",
        values,
    )


def after(place: Place, rows: Sequence[Sequence[Any]], limit: int) -> tuple[list[TaskEvent], Position]:
    """What `read_log` found, and the place after it."""
    if rows[0][1] is None:
        return [], str(place)
    snapshot = rows[0][0]
    last = max((place.xid, place.id), (int(rows[-1][1]), rows[-1][2]))
    unfinished = {xid: 0 for xid in _unfinished(snapshot) if xid < last[0]}
    if len(rows) == limit:
        # The page may end before all of them is read.
        unfinished = place.under_way | unfinished
        for row in rows:
            if (xid := int(row[1])) in place.under_way:
                unfinished[xid] = row[2]
    return _events(rows), str(Place(*last, dict(sorted(unfinished.items()))))


def _events(rows: Sequence[Sequence[Any]]) -> list[TaskEvent]:
    return [TaskEvent(*row[3:]) for row in rows]


# --- by conditions ---


def query(schema: str, match: EventFilter) -> Statement:
    """See `Driver.query`; with a limit the latest come first."""
    values: list[Any] = []
    conditions = [
        f"{column} {operator} {_bind(values, value)}"
        for column, operator, value in (
            ("task_id", "=", match.task_id),
            ("schedule_id", "=", match.schedule_id),
            ("queue", "=", match.queue),
            ("ts", ">=", match.since),
            ("ts", "<", match.until),
        )
        if value is not None
    ]
    if match.types:
        exact = [wanted for wanted in match.types if not wanted.endswith(".*")]
        families = [wanted[:-1] for wanted in match.types if wanted.endswith(".*")]
        any_of = [f"event_type = ANY ({_bind(values, exact)}::text[])"] if exact else []
        any_of += [f"starts_with(event_type, {_bind(values, family)})" for family in families]
        conditions.append(f"({' OR '.join(any_of)})")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    found = f"SELECT {_FIELDS} FROM {schema}.events{where} ORDER BY "
    if match.limit is None:
        return Statement(f"{found} ts, xid, id", values)
    return Statement(f"{found} ts DESC, xid DESC, id DESC LIMIT {_bind(values, match.limit)}", values)


def columns(match: EventFilter, rows: Sequence[Sequence[Any]]) -> Columns:
    """The rows of `query` as columns."""
    if match.limit is not None:
        rows = rows[::-1]
    if not rows:
        return {field: [] for field in EVENT_FIELDS}
    return {field: list(column) for field, column in zip(EVENT_FIELDS, zip(*rows, strict=True), strict=True)}


def _bind(values: list[Any], value: Any) -> str:
    values.append(value)
    return f"${len(values)}"


def trim(schema: str, before: int, limit: int) -> Statement:
    """Delete so many of the events before a moment, the oldest first."""
    return Statement(
        f"DELETE FROM {schema}.events WHERE ctid = ANY (ARRAY("
        f"SELECT ctid FROM {schema}.events WHERE ts < $1 ORDER BY ts LIMIT $2))",
        [before, limit],
    )
