"""Batches of operations as calls of one function in PostgreSQL (`omniq.backends.postgres_functions`).

The usual batch is one call: replacements, extensions and deletions, then insertions, then events, the later ones
guarded by the earlier. What does not fit into that order (two operations on one record, an insertion that hangs on
another) goes into further calls, which must be made in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from ..models.record import Append, Delete, Extend, Insert, Op, Record, Replace

_OPS_PER_CALL = 5000
_BYTES_PER_CALL = 16_000_000
"""A message may have a gigabyte, but both sides hold it in memory several times."""
_UNGUARDED = -1

_REPLACE, _EXTEND, _DELETE, _INSERT, _APPEND = 14, 6, 5, 14, 11
"""Columns of the function's five groups of arrays."""
ARRAYS = _REPLACE + _EXTEND + _DELETE + _INSERT + _APPEND

_Row = tuple[Any, ...]


class Batch:
    """Several callers' operations, and what has become of them.

    Make the calls in their order, and tell `Call.failed` of each before asking for the next: later ones may hang on it.

    Attributes:
        outcomes: Of each operation whether it applied, once the calls are made.
    """

    def __init__(self, batches: Sequence[Sequence[Op]]) -> None:
        self._ops: list[Op] = []
        self._guards: list[int | None] = []
        for ops in batches:
            base = len(self._ops)
            self._guards += [None if op.after is None else op.after + base for op in ops]
            self._ops += ops
        self.outcomes = [True] * len(self._ops)

    def calls(self) -> Iterator[Call]:
        """The calls; the last one says that it is (`Call.is_last`)."""
        outcomes = self.outcomes
        guarded: list[tuple[int, int]] = []
        call = Call(0)
        for n, op in enumerate(self._ops):
            guard = self._guard_of(n)
            if not call.takes(op, guard):
                yield call
                self._note(call, guarded)
                call = Call(n)
            if guard is None:
                call.add(n, op, _UNGUARDED)
            elif not outcomes[guard]:
                outcomes[n] = False
            elif guard < call.first:
                call.add(n, op, _UNGUARDED)
            else:
                call.add(n, op, guard)
                guarded.append((n, guard))
        call.is_last = True
        yield call
        self._note(call, guarded)

    def _guard_of(self, n: int) -> int | None:
        """The operation that this one hangs on; an event applies when its own guard does, so that one counts."""
        guard = self._guards[n]
        while guard is not None and type(self._ops[guard]) is Append:
            guard = self._guards[guard]
        return guard

    def _note(self, call: Call, guarded: list[tuple[int, int]]) -> None:
        outcomes = self.outcomes
        for n in call.failed:
            outcomes[n] = False
        if call.failed:
            for n, guard in guarded:
                outcomes[n] = outcomes[n] and outcomes[guard]
        guarded.clear()


class Call:
    """Operations of which no two name the same record, as rows of the function's arrays.

    Attributes:
        first: Number of its first operation.
        is_last: No other call follows.
        failed: Numbers of the operations that did not apply, once the call is made.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.is_last = False
        self.failed: Sequence[int] = ()
        self._named: set[tuple[str, str]] = set()
        self._inserted: set[int] = set()
        self._ops = self._bytes = 0
        self._replaces: list[_Row] = []
        self._extends: list[_Row] = []
        self._deletes: list[_Row] = []
        self._inserts: list[_Row] = []
        self._appends: list[_Row] = []

    def takes(self, op: Op, guard: int | None) -> bool:
        """Whether the operation fits into this call."""
        if self._ops >= _OPS_PER_CALL or self._bytes >= _BYTES_PER_CALL:
            return False
        if type(op) is Append:
            return True
        record = op.record if type(op) is Insert else op.previous  # type: ignore[union-attr]  # all others have it
        if (record.kind, record.key) in self._named:
            return False
        if guard is None or guard < self.first:
            return True
        return type(op) is Insert and guard not in self._inserted

    def add(self, n: int, op: Op, guard: int) -> None:
        """Take an operation in; ``guard`` is a number of this call."""
        # By type, not by `match`: with the next few methods this is the writer's hottest loop.
        self._ops += 1
        _ADDERS[type(op)](self, n, op, guard)

    def insert(self, n: int, op: Insert, guard: int) -> None:
        r = op.record
        self._name(r)
        self._inserted.add(n)
        self._bytes += len(r.body)
        self._inserts.append(
            (n, guard, r.kind, r.key, r.partition, r.state, r.rank, r.due_at, r.owner, r.claims, r.created_at,
             r.updated_at, r.expires_at, r.body)
        )  # fmt: skip

    def replace(self, n: int, op: Replace, guard: int) -> None:  # noqa: ARG002 -- one signature for all
        r, old = op.record, op.previous
        self._name(old)
        body = None if r.body is old.body else r.body
        self._bytes += len(body or b"")
        self._replaces.append(
            (n, old.kind, old.key, old.version, old.created_at, r.partition, r.state, r.rank, r.due_at, r.owner,
             r.claims, r.updated_at, r.expires_at, body)
        )  # fmt: skip

    def extend(self, n: int, op: Extend, guard: int) -> None:  # noqa: ARG002 -- see above
        old = op.previous
        self._name(old)
        self._extends.append((n, old.kind, old.key, old.version, old.created_at, op.due_at))

    def delete(self, n: int, op: Delete, guard: int) -> None:  # noqa: ARG002 -- see above
        old = op.previous
        self._name(old)
        self._deletes.append((n, old.kind, old.key, old.version, old.created_at))

    def append(self, n: int, op: Append, guard: int) -> None:  # noqa: ARG002 -- see above
        for e in op.events:
            self._appends.append(
                (guard, e.ts, e.event_type, e.task_id, e.func, e.queue, e.worker, e.attempt, e.duration, e.schedule_id,
                 e.data)
            )  # fmt: skip
        self._ops += len(op.events)

    def _name(self, record: Record) -> None:
        self._named.add((record.kind, record.key))

    def arrays(self) -> list[Any]:
        """The function's arrays, ``None`` for those without a row.

        Rows go in order of their keys, so that two writers lock the records of both in the same order.
        """
        self._replaces.sort(key=itemgetter(1, 2))
        self._extends.sort(key=itemgetter(1, 2))
        self._deletes.sort(key=itemgetter(1, 2))
        self._inserts.sort(key=itemgetter(2, 3))
        return [
            *_columns(self._replaces, _REPLACE),
            *_columns(self._extends, _EXTEND),
            *_columns(self._deletes, _DELETE),
            *_columns(self._inserts, _INSERT),
            *_columns(self._appends, _APPEND),
        ]


_ADDERS: dict[type, Callable[[Call, int, Any, int], None]] = {
    Insert: Call.insert,
    Replace: Call.replace,
    Extend: Call.extend,
    Delete: Call.delete,
    Append: Call.append,
}


def _columns(rows: list[_Row], width: int) -> Iterator[Any]:
    return zip(*rows, strict=True) if rows else iter([None] * width)
