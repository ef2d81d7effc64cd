"""The event log in PostgreSQL: a row for the events of one write, in the order of (transaction id, number of the row).

A row per event would cost the server as much as all else that a task's end writes. A row holds its events as arrays,
one for each field, as they were sent: NULL where none has it, and one element where all have the same. Statements pick
the rows by what can be asked of arrays; the events of a row that are not wanted are left out here.

An event's number is made of its row's and its place in it. A transaction that began early may commit late, after a
reader has passed its place. So a position is the place of the last event read, and with it the transactions before that
place that were still under way: their events are read once they are there. Nobody has to wait for anybody's long
transaction, and writers need no common lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import Columns, EventFilter
from ..storage.driver import Position
from ..storage.events import matches
from .postgres_read import Statement

_FIELDS = ", ".join(EVENT_FIELDS)
_ROW = f"events.xid, id, n, {_FIELDS}"
_BITS = 24
"""Of an event's number, for its place in the row: a write can't have so many events."""
_LAST = f"(id << {_BITS}) + n"
"""Number of a row's last event."""
_WITH_SNAPSHOT = (
    f"SELECT snapshot, e.xid::text, e.id, n, {_FIELDS} FROM (SELECT pg_current_snapshot()::text AS snapshot) AS now "
    "LEFT JOIN LATERAL"
)
_FIRST_ROWS, _MORE_ROWS = 4, 4
"""Rows that are looked at for the latest events, and so many times more with each further look."""

_Event = tuple[Any, ...]


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

    def passed(self, xid: int) -> int:
        """Number of the last event of a transaction that was read."""
        return self.id if xid == self.xid else self.under_way.get(xid, 0)


def _pair(text: str) -> tuple[int, int]:
    xid, _, number = text.partition(".")
    return int(xid), int(number or 0)


def _unfinished(snapshot: str) -> list[int]:
    """The transactions that were under way in a snapshot, as PostgreSQL writes it: ``xmin:xmax:xid,xid``."""
    return [int(xid) for xid in snapshot.rpartition(":")[2].split(",") if xid]


def _unpack(n: int, columns: Iterable[list[Any] | None]) -> Iterator[_Event]:
    """The events of a row; those whose ``ts`` is ``None`` have been trimmed."""
    spread = ([None] * n if column is None else column if len(column) == n else column * n for column in columns)
    return zip(*spread, strict=True)


# --- in the order of appending ---


def _page(rows: str, order: str, limit: str) -> str:
    """Of these rows the first, until they have so many events that are unread."""
    return (
        f"SELECT * FROM (SELECT *, sum(unread) OVER ({order}) - unread AS earlier FROM ({rows} {order} LIMIT {limit}) "
        f"AS rows) AS summed WHERE earlier < {limit}"
    )


def log_end(schema: str, latest: int) -> Statement:
    """The last row, which makes the position, and some before it; rows as of `read_log`."""
    found = _page(f"SELECT {_ROW}, n AS unread FROM {schema}.events", "ORDER BY xid DESC, id DESC", "$1")
    return Statement(f"{_WITH_SNAPSHOT} ({found}) AS e ON true ORDER BY e.xid, e.id", [max(latest, 1)])


def end_of(rows: Sequence[Sequence[Any]], latest: int) -> tuple[list[TaskEvent], Position]:
    """What `log_end` found."""
    snapshot, last, *_ = rows[-1]
    if last is None:
        return [], str(Place(0, 0, {}))
    numbered = list(_numbered(rows))
    xid, number, _ = numbered[-1]
    under_way = {each: 0 for each in _unfinished(snapshot) if each < xid}
    return _events(numbered)[-latest:] if latest else [], str(Place(xid, number, under_way))


def read_log(schema: str, place: Place, limit: int) -> Statement:
    """What follows a place: first what was under way then, each row after the snapshot it was found in."""
    rows = (
        f"SELECT {_ROW}, CASE xid WHEN $1::text::xid8 THEN least(n, {_LAST} - $2) ELSE n END AS unread "
        f"FROM {schema}.events WHERE (xid, id) >= ($1::text::xid8, $2::bigint >> {_BITS}) "
        f"AND (xid, {_LAST}) > ($1::text::xid8, $2)"
    )
    values: list[Any] = [str(place.xid), place.id, limit]
    order = "ORDER BY xid, id"
    if place.under_way:
        values += [[str(xid) for xid in place.under_way], list(place.under_way.values())]
        late = (
            f"SELECT e.* FROM unnest($4::text[]::xid8[], $5::bigint[]) AS late(xid, last), LATERAL ("
            f"SELECT {_ROW}, least(n, {_LAST} - last) AS unread FROM {schema}.events "
            f"WHERE events.xid = late.xid AND id >= last >> {_BITS} AND {_LAST} > last {order} LIMIT $3) AS e"
        )
        rows = f"SELECT * FROM (({late} {order} LIMIT $3) UNION ALL ({rows} {order} LIMIT $3)) AS both_of_them"
    return Statement(f"{_WITH_SNAPSHOT} ({_page(rows, order, '$3')}) AS e ON true ORDER BY e.xid, e.id", values)


def after(place: Place, rows: Sequence[Sequence[Any]], limit: int) -> tuple[list[TaskEvent], Position]:
    """What `read_log` found, and the place after it."""
    if rows[0][1] is None:
        return [], str(place)
    snapshot = rows[0][0]
    unread = [each for each in _numbered(rows) if each[1] > place.passed(each[0])]
    page = unread[:limit]
    last = max((place.xid, place.id), page[-1][:2])
    unfinished = {xid: 0 for xid in _unfinished(snapshot) if xid < last[0]}
    if len(unread) >= limit:
        # The page may end before all of them is read.
        unfinished = place.under_way | unfinished
        for xid, number, _ in page:
            if xid in place.under_way:
                unfinished[xid] = number
    return _events(page), str(Place(*last, dict(sorted(unfinished.items()))))


def _numbered(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, int, _Event]]:
    """The events of rows as of `read_log`, each after its transaction and number."""
    for _, xid, row, n, *columns in rows:
        for number, event in enumerate(_unpack(n, columns), start=(row << _BITS) + 1):
            yield int(xid), number, event


def _events(numbered: Iterable[tuple[int, int, _Event]]) -> list[TaskEvent]:
    return [TaskEvent(*event) for _, _, event in numbered if event[0] is not None]


# --- by conditions ---


class Query:
    """The events that match. Without a limit one statement finds them; with one, rows are looked at from the latest on,
    until none can hold a later event.

    Make its statements until there is none, and give each one's rows to `add`.

    Args:
        schema: Quoted.
        match: See `Driver.query`.
    """

    def __init__(self, schema: str, match: EventFilter) -> None:
        self._match = match
        self._values: list[Any] = []
        self._sql = f"SELECT max_ts, xid::text, id, n, {_FIELDS} FROM {schema}.events{self._where(match)}"
        self._wants_all = match == EventFilter(limit=match.limit)
        self._size = _FIRST_ROWS
        self._edge: tuple[int, str, int] | None = None
        self._found: list[tuple[int, int, list[_Event]]] = []
        self._moments: list[int] = []
        self._is_done = match.limit == 0

    def _where(self, match: EventFilter) -> str:
        conditions = [
            condition.format(self._bind(value))
            for condition, value in (
                ("{} = ANY (task_id)", match.task_id),
                ("{} = ANY (schedule_id)", match.schedule_id),
                ("{} = ANY (queue)", match.queue),
                ("max_ts >= {}", match.since),
                ("min_ts < {}", match.until),
            )
            if value is not None
        ]
        if match.types:
            exact = [wanted for wanted in match.types if not wanted.endswith(".*")]
            families = [wanted[:-1] for wanted in match.types if wanted.endswith(".*")]
            any_of = [f"event_type && {self._bind(exact)}::text[]"] if exact else []
            any_of += [
                f"EXISTS (SELECT FROM unnest(event_type) AS each WHERE starts_with(each, {self._bind(family)}))"
                for family in families
            ]
            conditions.append(f"({' OR '.join(any_of)})")
        return f" WHERE {' AND '.join(conditions or ['true'])}"

    def _bind(self, value: Any) -> str:
        self._values.append(value)
        return f"${len(self._values)}"

    def statement(self) -> Statement | None:
        """The next one; ``None``: all is found."""
        if self._is_done:
            return None
        if self._match.limit is None:
            return Statement(f"{self._sql} ORDER BY events.xid, id", self._values)
        edge, k = "", len(self._values)
        if self._edge is not None:
            edge = f" AND (max_ts, events.xid, id) < (${k + 2}, ${k + 3}::text::xid8, ${k + 4})"
        order = "ORDER BY max_ts DESC, events.xid DESC, id DESC"
        return Statement(f"{self._sql}{edge} {order} LIMIT ${k + 1}", [*self._values, self._size, *(self._edge or ())])

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """What the last statement found."""
        for _, xid, row, n, *columns in rows:
            self._found.append((int(xid), row, self._matching(n, columns)))
        limit = self._match.limit
        if limit is None or len(rows) < self._size:
            self._is_done = True
            return
        new = (event[0] for _, _, events in self._found[-len(rows) :] for event in events)
        self._moments = sorted(chain(self._moments, new))[-limit:]
        self._edge = tuple(rows[-1][:3])
        self._is_done = len(self._moments) == limit and self._edge[0] < self._moments[0]
        self._size *= _MORE_ROWS

    def _matching(self, n: int, columns: Iterable[list[Any] | None]) -> list[_Event]:
        events = (event for event in _unpack(n, columns) if event[0] is not None)
        return [event for event in events if self._wants_all or matches(TaskEvent(*event), self._match)]

    def columns(self) -> Columns:
        """All of them."""
        self._found.sort(key=itemgetter(0, 1))
        events = list(chain.from_iterable(events for _, _, events in self._found))
        events.sort(key=itemgetter(0))  # stable: among equal moments the order of appending stays
        if self._match.limit is not None:
            events = events[max(0, len(events) - self._match.limit) :]
        if not events:
            return {field: [] for field in EVENT_FIELDS}
        return {field: list(column) for field, column in zip(EVENT_FIELDS, zip(*events, strict=True), strict=True)}


def trim(schema: str, before: int, limit: int) -> Statement:
    """Delete the events before a moment from so many rows, the oldest first; gives the number of rows and events.

    Events of a row that stays lose their ``ts``, so that the others keep their numbers.
    """
    chosen = "ctid = ANY (ARRAY(SELECT place FROM old WHERE {}))"
    return Statement(
        "WITH old AS MATERIALIZED ("
        "SELECT ctid AS place, max_ts < $1 AS goes, "
        "n / cardinality(ts) * (SELECT count(*) FROM unnest(ts) AS moment WHERE moment < $1) AS n "
        f"FROM {schema}.events WHERE min_ts < $1 ORDER BY min_ts LIMIT $2 FOR UPDATE SKIP LOCKED"
        f"), gone AS (DELETE FROM {schema}.events WHERE {chosen.format('goes')}"
        f"), cut AS (UPDATE {schema}.events SET "
        "min_ts = (SELECT min(moment) FROM unnest(ts) AS moment WHERE moment >= $1), "
        "ts = ARRAY(SELECT CASE WHEN moment >= $1 THEN moment END FROM unnest(ts) AS moment) "
        f"WHERE {chosen.format('NOT goes')}) "
        "SELECT count(*), coalesce(sum(n), 0)::bigint FROM old",
        [before, limit],
    )
