"""What happens inside one SQLite transaction: batches of operations, and claims.

Everything here runs in the writer's thread, on a plain `sqlite3.Connection`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from ..models.event import TaskEvent
from ..models.record import RUNNING, Append, Delete, Extend, Insert, Op, Record, Replace

COLUMNS = "kind, key, partition, state, rank, due_at, owner, claims, version, created_at, updated_at, expires_at, body"

_INSERT = ("INSERT OR IGNORE INTO records VALUES ", 14)
_EVENT = (
    "INSERT INTO events (ts, event_type, task_id, func, queue, worker, attempt, duration, schedule_id, data) VALUES ",
    10,
)
_ROWS_PER_STATEMENT = (64, 16, 4, 1)
# The usual settlement leaves body, partition and expiry alone; SQLite then binds less.
_SETTLE = (
    "UPDATE records SET state = ?, rank = ?, due_at = ?, ready = ?, owner = ?, claims = ?, version = version + 1, "
    "updated_at = ? WHERE kind = ? AND key = ? AND version = ?"
)
_REPLACE = (
    "UPDATE records SET state = ?, rank = ?, due_at = ?, ready = ?, owner = ?, claims = ?, version = version + 1, "
    "updated_at = ?, partition = ?, expires_at = ?, body = ? WHERE kind = ? AND key = ? AND version = ?"
)
_EXTEND = "UPDATE records SET due_at = ?, ready = ? WHERE kind = ? AND key = ? AND version = ?"
_DELETE = "DELETE FROM records WHERE kind = ? AND key = ? AND version = ?"
_COUNT = "INSERT INTO counters VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
_PROMOTE = (
    "UPDATE records SET ready = 1 WHERE kind = ? AND key IN (SELECT key FROM records INDEXED BY records_later "
    "WHERE kind = ? AND ready = 0 AND due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?)"
)
_PROMOTE_LIMIT = 10_000
"""Bounds one claim's work when a great many records become due at the same moment."""

_NEXT_READY = (
    f"SELECT {COLUMNS} FROM records INDEXED BY records_ready WHERE kind = ? AND partition = ? AND ready = 1 "
    "ORDER BY rank, created_at, key LIMIT ?"
)
_HAS_READY = "SELECT 1 FROM records INDEXED BY records_ready WHERE kind = ? AND partition = ? AND ready = 1 LIMIT 1"
_HAS_DUE = (
    "SELECT 1 FROM records INDEXED BY records_later WHERE kind = ? AND ready = 0 AND due_at IS NOT NULL "
    "AND due_at <= ? LIMIT 1"
)

_Row = tuple[object, ...]
_Item = TypeVar("_Item")


class Transaction:
    """One open transaction: applies operations, and keeps the counters in step.

    Args:
        connection: Inside ``BEGIN IMMEDIATE``.
        now: The transaction's moment.
    """

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._counts: dict[tuple[str, str, str], int] = {}

    def finish(self) -> None:
        """Write what the counters have to change; call it before the commit."""
        rows = [(*group, n) for group, n in self._counts.items() if n]
        if rows:
            self._connection.executemany(_COUNT, rows)

    # --- operations ---

    def apply(self, batches: Sequence[Sequence[Op]]) -> list[list[bool]]:
        """Apply several callers' batches, each in its order; an outcome for each operation."""
        ops = list(chain.from_iterable(batches))
        if len(ops) > 1 and _all_distinct(ops) and self._apply_all(ops):
            return [[True] * len(batch) for batch in batches]
        return [self._apply_one_by_one(batch) for batch in batches]

    def _apply_all(self, ops: Sequence[Op]) -> bool:
        """Apply operations grouped by their kind, as long as every one of them applies; else undo and say so.

        Grouped, a batch takes a fifth of the time. That they name distinct records makes their order immaterial.
        """
        inserts: list[_Row] = []
        settles: list[_Row] = []
        replaces: list[_Row] = []
        extends: list[_Row] = []
        deletes: list[_Row] = []
        events: list[_Row] = []
        counts: dict[tuple[str, str, str], int] = {}
        for op in ops:
            match op:
                case Insert(record):
                    inserts.append(self._insert_row(record))
                case Replace(record, previous) if _is_settlement(record, previous):
                    settles.append(self._settle_row(record, previous))
                case Replace(record, previous):
                    replaces.append(self._replace_row(record, previous))
                case Append(batch):
                    events += [_event_row(event) for event in batch]
                case Extend(previous, due_at):
                    extends.append(self._extend_row(previous, due_at))
                case Delete(previous):
                    deletes.append((previous.kind, previous.key, previous.version))
            _tally(counts, op)
        connection = self._connection
        connection.execute("SAVEPOINT batch")
        applied = (
            _insert_many(connection, *_INSERT, inserts) == len(inserts)
            and _update_many(connection, _SETTLE, settles)
            and _update_many(connection, _REPLACE, replaces)
            and _update_many(connection, _EXTEND, extends)
            and _update_many(connection, _DELETE, deletes)
        )
        if applied:
            _insert_many(connection, *_EVENT, events)
            for group, n in counts.items():
                self._counts[group] = self._counts.get(group, 0) + n
        else:
            connection.execute("ROLLBACK TO batch")
        connection.execute("RELEASE batch")
        return applied

    def _apply_one_by_one(self, ops: Sequence[Op]) -> list[bool]:
        outcomes: list[bool] = []
        for op in ops:
            applied = (op.after is None or outcomes[op.after]) and self._apply_single(op)
            if applied:
                _tally(self._counts, op)
            outcomes.append(applied)
        return outcomes

    def _apply_single(self, op: Op) -> bool:
        connection = self._connection
        match op:
            case Insert(record):
                return _insert_many(connection, *_INSERT, [self._insert_row(record)]) == 1
            case Replace(record, previous):
                return _update_many(connection, _REPLACE, [self._replace_row(record, previous)])
            case Extend(previous, due_at):
                return _update_many(connection, _EXTEND, [self._extend_row(previous, due_at)])
            case Delete(previous):
                return _update_many(connection, _DELETE, [(previous.kind, previous.key, previous.version)])
            case Append(events):
                _insert_many(connection, *_EVENT, [_event_row(event) for event in events])
                return True

    # --- rows ---

    def _ready(self, due_at: int | None) -> bool:
        return due_at is not None and due_at <= self._now

    def _insert_row(self, r: Record) -> _Row:
        return (
            r.kind, r.key, r.partition, r.state, r.rank, r.due_at, r.owner, r.claims, 1, r.created_at, r.updated_at,
            r.expires_at, r.body, self._ready(r.due_at),
        )  # fmt: skip

    def _settle_row(self, r: Record, previous: Record) -> _Row:
        return (
            r.state, r.rank, r.due_at, self._ready(r.due_at), r.owner, r.claims, r.updated_at,
            previous.kind, previous.key, previous.version,
        )  # fmt: skip

    def _replace_row(self, r: Record, previous: Record) -> _Row:
        return (
            r.state, r.rank, r.due_at, self._ready(r.due_at), r.owner, r.claims, r.updated_at, r.partition,
            r.expires_at, r.body, previous.kind, previous.key, previous.version,
        )  # fmt: skip

    def _extend_row(self, previous: Record, due_at: int) -> _Row:
        return (due_at, self._ready(due_at), previous.kind, previous.key, previous.version)

    # --- claims ---

    def claim(
        self, kind: str, partitions: Sequence[str] | None, owner: str, limit: int, lease: int, excluding: Collection[str]
    ) -> list[Record]:
        """See `Driver.claim`."""
        now = self._now
        self._connection.execute(_PROMOTE, (kind, kind, now, _PROMOTE_LIMIT))
        chosen = self._choose(kind, partitions, limit, excluding)
        due_at = now + lease
        for record in chosen:
            _add(self._counts, record, -1)
            record.state = RUNNING
            _add(self._counts, record, 1)
            record.owner = owner
            record.claims += 1
            record.version += 1
            record.due_at = due_at
            record.updated_at = now
        for keys in _chunks([record.key for record in chosen]):
            self._connection.execute(
                "UPDATE records SET state = ?, owner = ?, claims = claims + 1, version = version + 1, due_at = ?, "
                f"ready = 0, updated_at = ? WHERE kind = ? AND key IN ({', '.join('?' * len(keys))})",
                (RUNNING, owner, due_at, now, kind, *keys),
            )
        return chosen

    def _choose(
        self, kind: str, partitions: Sequence[str] | None, limit: int, excluding: Collection[str]
    ) -> list[Record]:
        ordered = partitions is not None
        candidates: list[tuple[tuple[int, int, int, str], Record]] = []
        for position, partition in enumerate(served(self._connection, kind, partitions, excluding)):
            for row in self._connection.execute(_NEXT_READY, (kind, partition, limit)).fetchall():
                record = Record(*row)
                order = (record.rank, position if ordered else 0, record.created_at, record.key)
                candidates.append((order, record))
        candidates.sort(key=lambda candidate: candidate[0])
        return [record for _, record in candidates[:limit]]


def served(
    connection: sqlite3.Connection, kind: str, partitions: Sequence[str] | None, excluding: Collection[str]
) -> list[str]:
    """The partitions that a claim looks at, each once, in their order."""
    if partitions is None:
        rows = connection.execute("SELECT DISTINCT partition FROM counters WHERE kind = ? AND n > 0", (kind,))
        partitions = [row[0] for row in rows.fetchall()]
    return [partition for partition in dict.fromkeys(partitions) if partition not in excluding]


def anything_due(connection: sqlite3.Connection, kind: str, partitions: Iterable[str], now: int) -> bool:
    """Whether a claim may find something: asked before taking the write lock, which an idle worker should not do."""
    if connection.execute(_HAS_DUE, (kind, now)).fetchone():
        return True
    return any(connection.execute(_HAS_READY, (kind, partition)).fetchone() for partition in partitions)


def _all_distinct(ops: Sequence[Op]) -> bool:
    keys = [
        (op.record.kind, op.record.key) if isinstance(op, Insert) else (op.previous.kind, op.previous.key)
        for op in ops
        if not isinstance(op, Append)
    ]
    return len(set(keys)) == len(keys)


def _is_settlement(record: Record, previous: Record) -> bool:
    return (
        record.body is previous.body
        and record.partition == previous.partition
        and record.expires_at == previous.expires_at
    )


def _tally(counts: dict[tuple[str, str, str], int], op: Op) -> None:
    match op:
        case Insert(new):
            _add(counts, new, 1)
        case Replace(new, old):
            if new.state != old.state or new.partition != old.partition:
                _add(counts, old, -1)
                _add(counts, new, 1)
        case Delete(old):
            _add(counts, old, -1)


def _add(counts: dict[tuple[str, str, str], int], record: Record, n: int) -> None:
    group = (record.kind, record.partition, record.state)
    counts[group] = counts.get(group, 0) + n


def _event_row(e: TaskEvent) -> _Row:
    return (
        e.ts, e.event_type, e.task_id, e.func, e.queue, e.worker, e.attempt, e.duration, e.schedule_id, e.data,
    )  # fmt: skip


def _update_many(connection: sqlite3.Connection, sql: str, rows: list[_Row]) -> bool:
    """Whether each row's statement found its record."""
    return not rows or connection.executemany(sql, rows).rowcount == len(rows)


def _insert_many(connection: sqlite3.Connection, head: str, width: int, rows: list[_Row]) -> int:
    """Insert rows by a few many-row statements, half again as fast as one per row; says how many were inserted."""
    inserted = 0
    for chunk in _chunks(rows):
        values = ", ".join([f"({', '.join('?' * width)})"] * len(chunk))
        inserted += connection.execute(head + values, list(chain.from_iterable(chunk))).rowcount
    return inserted


def _chunks(items: list[_Item]) -> Iterator[list[_Item]]:
    """Slices of a few fixed lengths, so that few statements are prepared and all stay in the statement cache."""
    start = 0
    for size in _ROWS_PER_STATEMENT:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size
