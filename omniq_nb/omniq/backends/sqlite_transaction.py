"""What happens inside one SQLite transaction: batches of operations, and claims.

Everything here runs in the writer's thread, on a plain `sqlite3.Connection`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from itertools import chain, repeat
from typing import Any

import msgspec

from ..models.event import TaskEvent
from ..models.record import RUNNING, Append, Op, Record
from . import sqlite_events as log
from .sqlite_rows import Group, Rows, update_keys

_CLAIM = (
    "UPDATE records SET state = ?, owner = ?, claims = claims + 1, version = version + 1, due_at = ?, ready = 0, "
    "updated_at = ? WHERE kind = ? AND key IN "
)
COUNT = "INSERT INTO counters VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
_PROMOTE = (
    "UPDATE records SET ready = 1 WHERE kind = ? AND key IN (SELECT key FROM records INDEXED BY records_later "
    "WHERE kind = ? AND ready = 0 AND due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?)"
)
_PROMOTE_LIMIT = 10_000
"""Bounds one claim's work when a great many records become due at the same moment."""

# What the claim knows already, or is about to change, is not read: a column costs as much as a tenth of the row.
_NEXT_READY = (
    "SELECT rank, created_at, key, state, claims, version, expires_at, body FROM records INDEXED BY records_ready "
    "WHERE kind = ? AND partition = ? AND ready = 1 ORDER BY rank, created_at, key LIMIT ?"
)
_COUNT_READY = (
    "SELECT count(*) FROM (SELECT 1 FROM records INDEXED BY records_ready WHERE kind = ? AND partition = ? "
    "AND ready = 1 LIMIT ?)"
)
_COUNT_LATE = (
    "SELECT count(*) FROM (SELECT 1 FROM records INDEXED BY records_later WHERE kind = ? AND ready = 0 "
    "AND due_at IS NOT NULL AND due_at <= ? LIMIT ?)"
)
_FEW = 4
"""So many operations are applied one by one sooner than together."""


class Claim(msgspec.Struct, frozen=True):
    """The arguments of `Driver.claim`."""

    kind: str
    partitions: Sequence[str] | None
    owner: str
    limit: int
    lease: int
    excluding: Collection[str]


class Work:
    """Several callers' batches, each in its order, made ready before the write lock is taken: others wait for that.

    Args:
        batches: The operations.
        now: Decides which records are due.

    Attributes:
        rows: The operations as rows, where there are enough and they name distinct records.
        events: What those rows append.
    """

    def __init__(self, batches: Sequence[Sequence[Op]], now: int) -> None:
        self.batches = batches
        self.rows: Rows | None = None
        self.events: list[log.Row] = []
        if sum(map(len, batches)) > _FEW:
            rows = Rows(chain.from_iterable(batches), now)
            if rows.name_distinct_records:
                self.rows = rows
                self.events = log.rows_of(rows.events)


class Transaction:
    """One open transaction: applies operations, and keeps the counters in step.

    Args:
        connection: Inside ``BEGIN IMMEDIATE``.
        now: The transaction's moment.
    """

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._counts: dict[Group, int] = {}
        self._events: list[log.Row] = []

    def finish(self) -> None:
        """Write the events, and what the counters have to change; call it before the commit."""
        log.append(self._connection, self._events)
        for group, n in self._counts.items():
            if n:
                self._connection.execute(COUNT, (*group, n))

    # --- operations ---

    def apply_together(self, work: Work) -> list[list[bool]] | None:
        """Apply all operations by a few statements; ``None``: one of them does not apply, so all must be undone.

        That they name distinct records makes their order immaterial.
        """
        if work.rows is None or not work.rows.write(self._connection):
            return None
        self._events = work.events
        self._add(work.rows.counts)
        return [[True] * len(batch) for batch in work.batches]

    def apply_in_order(self, work: Work) -> list[list[bool]]:
        """Apply each operation by itself; an outcome for each."""
        events: list[TaskEvent] = []
        outcomes = [self._apply_one_by_one(batch, events) for batch in work.batches]
        self._events = log.rows_of(events)
        return outcomes

    def _apply_one_by_one(self, ops: Sequence[Op], events: list[TaskEvent]) -> list[bool]:
        outcomes: list[bool] = []
        for op in ops:
            applied = op.after is None or outcomes[op.after]
            if isinstance(op, Append):
                events += op.events if applied else ()
            else:
                applied = applied and self._apply_one(op)
            outcomes.append(applied)
        return outcomes

    def _apply_one(self, op: Op) -> bool:
        rows = Rows([op], self._now)
        applied = rows.write(self._connection)
        if applied:
            self._add(rows.counts)
        return applied

    def _add(self, counts: dict[Group, int]) -> None:
        for group, n in counts.items():
            self._counts[group] = self._counts.get(group, 0) + n

    # --- claims ---

    def claim(self, claim: Claim) -> list[Record]:
        """See `Driver.claim`."""
        kind, owner, now = claim.kind, claim.owner, self._now
        self._connection.execute(_PROMOTE, (kind, kind, now, _PROMOTE_LIMIT))
        due_at = now + claim.lease
        claimed: list[Record] = []
        moved: dict[tuple[str, str], int] = {}
        for partition, (rank, created_at, key, state, claims, version, expires_at, body) in self._choose(claim):
            moved[partition, state] = moved.get((partition, state), 0) + 1
            claimed.append(
                Record(
                    kind, key, partition, RUNNING, rank, due_at, owner, claims + 1, version + 1, created_at, now,
                    expires_at, body,
                )
            )  # fmt: skip
        for (partition, state), n in moved.items():
            self._add({(kind, partition, state): -n})
            self._add({(kind, partition, RUNNING): n})
        update_keys(self._connection, _CLAIM, (RUNNING, owner, due_at, now, kind), [record.key for record in claimed])
        return claimed

    def _choose(self, claim: Claim) -> list[tuple[str, tuple[Any, ...]]]:
        """The rows of `_NEXT_READY` that are next, each with its partition."""
        looked_at = served(self._connection, claim.kind, claim.partitions, claim.excluding)
        found: list[tuple[str, tuple[Any, ...]]] = []
        for partition in looked_at:
            rows = self._connection.execute(_NEXT_READY, (claim.kind, partition, claim.limit)).fetchall()
            found += zip(repeat(partition), rows)
        if len(looked_at) > 1:  # the rows of one come in order
            places = {partition: 0 if claim.partitions is None else place for place, partition in enumerate(looked_at)}
            found.sort(key=lambda each: (each[1][0], places[each[0]], each[1][1:3]))
        return found[: claim.limit]


def served(
    connection: sqlite3.Connection, kind: str, partitions: Sequence[str] | None, excluding: Collection[str]
) -> list[str]:
    """The partitions that a claim looks at, each once, in their order."""
    if partitions is None:
        rows = connection.execute("SELECT DISTINCT partition FROM counters WHERE kind = ? AND n > 0", (kind,))
        partitions = [row[0] for row in rows.fetchall()]
    return [partition for partition in dict.fromkeys(partitions) if partition not in excluding]


def count_due(connection: sqlite3.Connection, claim: Claim, now: int, at_most: int) -> int:
    """How many records, up to ``at_most``, a claim may find: asked before taking the lock, which an idle worker should
    not.

    It may say too many (of records that became due, not all may be of the claim's partitions), never too few.
    """
    found: int = connection.execute(_COUNT_LATE, (claim.kind, now, at_most)).fetchone()[0]
    for partition in served(connection, claim.kind, claim.partitions, claim.excluding):
        if found >= at_most:
            break
        found += connection.execute(_COUNT_READY, (claim.kind, partition, at_most)).fetchone()[0]
    return found
