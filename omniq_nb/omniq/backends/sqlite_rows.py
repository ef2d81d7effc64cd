"""Operations as rows of the statements that carry them out."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from ..models.event import TaskEvent
from ..models.record import Append, Delete, Extend, Insert, Op, Replace

COLUMNS = "kind, key, partition, state, rank, due_at, owner, claims, version, created_at, updated_at, expires_at, body"

# Records that are inserted together differ in few columns. Those that they share come first, and are bound once for all
# of them: all but key and body where they are of one moment, else all but these and the moments.
INSERTED = (
    "kind", "partition", "state", "rank", "ready", "owner", "claims",
    "due_at", "created_at", "updated_at", "expires_at",
    "key", "body",
)  # fmt: skip
_MOMENTS = INSERTED.index("due_at")
_INTO_RECORDS = f"INSERT INTO records ({', '.join(INSERTED)}, version) VALUES "
INSERT = f"{_INTO_RECORDS}({'?, ' * len(INSERTED)}1)"
# The usual settlement changes little, and what it changes is the same for many: one statement for them takes half of
# the time that one for each does.
_SETTLE = (
    "UPDATE records SET state = ?, due_at = ?, ready = ?, owner = ?, updated_at = ?, version = version + 1 "
    "WHERE kind = ? AND version = ? AND created_at = ? AND key IN "
)
_REPLACE = (
    "UPDATE records SET state = ?, due_at = ?, ready = ?, owner = ?, updated_at = ?, version = version + 1, rank = ?, "
    "claims = ?, partition = ?, expires_at = ?, body = ? WHERE kind = ? AND key = ? AND version = ? AND created_at = ?"
)
_EXTEND = "UPDATE records SET due_at = ?, ready = ? WHERE kind = ? AND key = ? AND version = ? AND created_at = ?"
_DELETE = "DELETE FROM records WHERE kind = ? AND key = ? AND version = ? AND created_at = ?"
_ROWS_PER_STATEMENT = (64, 16, 4, 1)

_Row = tuple[Any, ...]
Group = tuple[str, str, str]
_Item = TypeVar("_Item")


def is_ready(due_at: int | None, now: int) -> int:
    """The value of the column ``ready``."""
    # No bool: binding one costs as much as a whole row, since sqlite3 first asks it how it wants to be adapted.
    return 1 if due_at is not None and due_at <= now else 0


class Rows:
    """Operations as rows of the statements that carry them out.

    The hottest loop of the writer: what many operations share is looked at once for all of them.

    Args:
        ops: The operations.
        now: Decides which records are due.

    Attributes:
        events: What is to be appended.
        counts: By how much the counters change.
    """

    def __init__(self, ops: Iterable[Op], now: int) -> None:
        self._now = now
        self._inserted: list[tuple[_Row, list[Any]]] = []
        self._shared: _Row | None = None  # by the records that were inserted last
        self._values: list[Any] = []
        self._alike: list[tuple[_Row, list[Any]]] = []
        self._lone: defaultdict[_Row, list[Any]] = defaultdict(list)
        self._settled: defaultdict[_Row, list[str]] = defaultdict(list)
        self._settles: list[tuple[_Row, list[str]]] = []
        self._replaces: list[_Row] = []
        self._extends: list[_Row] = []
        self._deletes: list[_Row] = []
        self._keys: defaultdict[str, set[object]] = defaultdict(set)
        self._named = 0
        self.events: list[TaskEvent] = []
        self.counts: defaultdict[Group, int] = defaultdict(int)
        for op in ops:
            _ADDERS[type(op)](self, op)  # by type: a `match` would ask for one class after the other
        self._look_at_inserted()
        self._look_at_settled()

    @property
    def name_distinct_records(self) -> bool:
        """Whether no two operations concern the same record."""
        return sum(map(len, self._keys.values())) == self._named

    def insert(self, op: Insert) -> None:
        r = op.record
        shared = (
            r.kind, r.partition, r.state, r.rank, self._ready(r.due_at), r.owner, r.claims,
            r.due_at, r.created_at, r.updated_at, r.expires_at,
        )  # fmt: skip
        if shared != self._shared:
            self._shared, self._values = shared, []
            self._inserted.append((shared, self._values))
        self._values += (r.key, r.body)

    def replace(self, op: Replace) -> None:
        r, old = op.record, op.previous
        if (
            r.body is old.body
            and r.claims == old.claims
            and r.expires_at == old.expires_at
            and r.rank == old.rank
            and r.partition == old.partition
        ):
            group = (
                old.kind, old.partition, old.state, old.version, old.created_at,
                r.state, r.due_at, r.owner, r.updated_at,
            )  # fmt: skip
            self._settled[group].append(old.key)
        else:
            self._name(old.kind, [old.key])
            self._move((old.kind, old.partition, old.state), (old.kind, r.partition, r.state), 1)
            row = (
                r.state, r.due_at, self._ready(r.due_at), r.owner, r.updated_at, r.rank, r.claims, r.partition,
                r.expires_at, r.body, old.kind, old.key, old.version, old.created_at,
            )  # fmt: skip
            self._replaces.append(row)

    def extend(self, op: Extend) -> None:
        old = op.previous
        self._name(old.kind, [old.key])
        self._extends.append((op.due_at, self._ready(op.due_at), old.kind, old.key, old.version, old.created_at))

    def delete(self, op: Delete) -> None:
        old = op.previous
        self._name(old.kind, [old.key])
        self.counts[old.kind, old.partition, old.state] -= 1
        self._deletes.append((old.kind, old.key, old.version, old.created_at))

    def append(self, op: Append) -> None:
        self.events += op.events

    def _look_at_inserted(self) -> None:
        for shared, values in self._inserted:
            if len(values) == 2:  # only one record; it goes with others that differ in moments
                others = self._lone[shared[:_MOMENTS]]
                others += shared[_MOMENTS:]
                others += values
            else:
                self._alike.append((shared, values))
        for shared, values in (*self._alike, *self._lone.items()):
            own = len(INSERTED) - len(shared)
            keys = values[own - 2 :: own]
            self._name(shared[0], keys)
            self.counts[shared[:3]] += len(keys)

    def _look_at_settled(self) -> None:
        for group, keys in self._settled.items():
            kind, partition, before, version, created_at, state, due_at, owner, updated_at = group
            self._name(kind, keys)
            self._move((kind, partition, before), (kind, partition, state), len(keys))
            row = (state, due_at, self._ready(due_at), owner, updated_at, kind, version, created_at)
            self._settles.append((row, keys))

    def _name(self, kind: str, keys: Sequence[object]) -> None:
        self._keys[kind].update(keys)
        self._named += len(keys)

    def _move(self, source: Group, target: Group, n: int) -> None:
        self.counts[source] -= n
        self.counts[target] += n

    def _ready(self, due_at: int | None) -> int:
        return is_ready(due_at, self._now)

    def write(self, connection: sqlite3.Connection) -> bool:
        """Whether every operation applied; after one that did not, the rest is left out. Events are left for later."""
        return (
            all(_insert(connection, shared, values) for shared, values in self._alike)
            and all(_insert(connection, shared, values) for shared, values in self._lone.items())
            and (not self._settles or _settle(connection, self._settles))
            and _update_many(connection, _REPLACE, self._replaces)
            and _update_many(connection, _EXTEND, self._extends)
            and _update_many(connection, _DELETE, self._deletes)
        )


_ADDERS: dict[type, Callable[[Rows, Any], None]] = {
    Insert: Rows.insert,
    Replace: Rows.replace,
    Extend: Rows.extend,
    Delete: Rows.delete,
    Append: Rows.append,
}


def _update_many(connection: sqlite3.Connection, sql: str, rows: list[_Row]) -> bool:
    """Whether each row's statement found its record."""
    if len(rows) == 1:
        return connection.execute(sql, rows[0]).rowcount == 1
    return not rows or connection.executemany(sql, rows).rowcount == len(rows)


def _settle(connection: sqlite3.Connection, groups: list[tuple[_Row, list[str]]]) -> bool:
    """Whether each record was found as it was. Those that change alike go together, the others one after the other."""
    lone = [(*values, keys[0]) for values, keys in groups if len(keys) == 1]
    alike = (update_keys(connection, _SETTLE, values, keys) for values, keys in groups if len(keys) > 1)
    return _update_many(connection, _in(_SETTLE, 1), lone) and all(alike)


def update_keys(connection: sqlite3.Connection, sql: str, values: _Row, keys: list[str]) -> bool:
    """Whether a statement found a record for each key.

    Args:
        connection: Inside a transaction.
        sql: Ends in ``IN``, with its other parameters before.
        values: Of those.
        keys: The records'.
    """
    updated = 0
    for chunk in _chunks(keys):
        updated += connection.execute(_in(sql, len(chunk)), (*values, *chunk)).rowcount
    return updated == len(keys)


def _insert(connection: sqlite3.Connection, shared: _Row, values: list[Any]) -> bool:
    """Whether each record was inserted. A few many-row statements take two thirds of the time that one per row does."""
    inserted, own = 0, len(INSERTED) - len(shared)
    for chunk in _chunks(values, own):
        inserted += connection.execute(_insert_of(len(chunk) // own, own), (*shared, *chunk)).rowcount
    return inserted == len(values) // own


@cache
def _insert_of(records: int, own: int) -> str:
    shared = ", ".join(f"?{n}" for n in range(1, len(INSERTED) - own + 1))
    row = f"({shared}, {', '.join('?' * own)}, 1)"
    return f"{_INTO_RECORDS}{', '.join([row] * records)} ON CONFLICT (kind, key) DO NOTHING"


@cache
def _in(sql: str, keys: int) -> str:
    return f"{sql}({', '.join('?' * keys)})"


def _chunks(items: list[_Item], width: int = 1) -> Iterator[list[_Item]]:
    """Slices of a few fixed lengths, so that few statements are prepared and all stay in the statement cache.

    Args:
        items: What goes into the statements.
        width: So many of them belong together.
    """
    start = 0
    for rows in _ROWS_PER_STATEMENT:
        size = rows * width
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size
