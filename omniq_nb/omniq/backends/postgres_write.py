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
from .postgres_functions import GROUPS

_OPS_PER_CALL = 5000
_BYTES_PER_CALL = 16_000_000
"""A message may have a gigabyte, but both sides hold it in memory several times."""
_EVENT_BYTES = 200
_UNGUARDED = -1

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
            self._ops += ops
            for op in ops:
                self._guards.append(None if op.after is None else self._guard(op.after + base))
        self.outcomes = [True] * len(self._ops)

    def _guard(self, n: int) -> int | None:
        """What hangs on this operation hangs on: an event applies when its own guard does, so that one counts."""
        return self._guards[n] if type(self._ops[n]) is Append else n

    def calls(self) -> Iterator[Call]:
        """The calls; the last one says that it is (`Call.is_last`)."""
        # This loop is the writer's hottest: an operation costs it one method, chosen by type, not by `match`.
        outcomes, adders = self.outcomes, _ADDERS
        call = Call(0)
        for n, (op, guard) in enumerate(zip(self._ops, self._guards, strict=True)):
            if guard is not None and not outcomes[guard]:
                outcomes[n] = False
            elif call.is_full(n) or not adders[type(op)](call, n, op, guard):
                yield call
                self._note(call, n)
                call = Call(n)
                if guard is None or outcomes[guard]:
                    adders[type(op)](call, n, op, guard)
                else:
                    outcomes[n] = False
        call.is_last = True
        yield call
        self._note(call, len(outcomes))

    def _note(self, call: Call, end: int) -> None:
        if not call.failed:
            return
        outcomes = self.outcomes
        for n in call.failed:
            outcomes[n] = False
        for n in range(call.first, end):
            guard = self._guards[n]
            outcomes[n] = outcomes[n] and (guard is None or outcomes[guard])


class Call:
    """Operations of which no two name the same record, as rows of the function's arrays.

    The methods that take an operation in say whether it fits: it must name a record of its own, and a record that is
    replaced, extended or deleted can't hang on anything of the same call, nor an insertion on another.

    Args:
        first: Number of its first operation; a guard with a smaller number has been passed.

    Attributes:
        is_last: No other call follows.
        failed: Numbers of the operations that did not apply, once the call is made.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.is_last = False
        self.failed: Sequence[int] = ()
        self._named: set[tuple[str, str]] = set()
        self._inserted: set[int] = set()
        self._bytes = 0
        self._replaces: list[_Row] = []
        self._extends: list[_Row] = []
        self._deletes: list[_Row] = []
        self._inserts: list[_Row] = []
        self._appends: list[_Row] = []

    def is_full(self, n: int) -> bool:
        """Whether the operation of this number has to go into another call."""
        return n - self.first >= _OPS_PER_CALL or self._bytes >= _BYTES_PER_CALL

    def insert(self, n: int, op: Insert, guard: int | None) -> bool:
        """Take it in, if it fits."""
        r = op.record
        if guard is None or guard < self.first:
            guard = _UNGUARDED
        if guard in self._inserted or not self._name(r):
            return False
        self._inserted.add(n)
        self._bytes += len(r.body)
        self._inserts.append(
            (n, r.kind, r.key, guard, r.created_at, r.partition, r.state, r.rank, r.due_at, r.owner, r.claims,
             r.updated_at, r.expires_at, r.body)
        )  # fmt: skip
        return True

    def replace(self, n: int, op: Replace, guard: int | None) -> bool:
        """Take it in, if it fits."""
        r, old = op.record, op.previous
        if not self._stands_alone(old, guard):
            return False
        body = None if r.body is old.body else r.body
        self._bytes += len(body or b"")
        self._replaces.append(
            (n, old.kind, old.key, old.version, old.created_at, r.partition, r.state, r.rank, r.due_at, r.owner,
             r.claims, r.updated_at, r.expires_at, body)
        )  # fmt: skip
        return True

    def extend(self, n: int, op: Extend, guard: int | None) -> bool:
        """Take it in, if it fits."""
        old = op.previous
        if not self._stands_alone(old, guard):
            return False
        self._extends.append((n, old.kind, old.key, old.version, old.created_at, op.due_at))
        return True

    def delete(self, n: int, op: Delete, guard: int | None) -> bool:
        """Take it in, if it fits."""
        old = op.previous
        if not self._stands_alone(old, guard):
            return False
        self._deletes.append((n, old.kind, old.key, old.version, old.created_at))
        return True

    def append(self, _: int, op: Append, guard: int | None) -> bool:
        """Take it in: events fit everywhere."""
        if guard is None or guard < self.first:
            guard = _UNGUARDED
        self._bytes += _EVENT_BYTES * len(op.events)
        for e in op.events:
            self._appends.append(
                (guard, e.ts, e.event_type, e.task_id, e.func, e.queue, e.worker, e.attempt, e.duration, e.schedule_id,
                 e.data)
            )  # fmt: skip
        return True

    def _stands_alone(self, record: Record, guard: int | None) -> bool:
        return (guard is None or guard < self.first) and self._name(record)

    def _name(self, record: Record) -> bool:
        """Whether the record is named for the first time."""
        named, name = self._named, (record.kind, record.key)
        if name in named:
            return False
        named.add(name)
        return True

    def arrays(self) -> list[Any]:
        """The function's arrays, in its order.

        Rows go in order of their keys, so that two writers lock the records of both in the same order.
        """
        for rows in (self._replaces, self._extends, self._deletes, self._inserts):
            rows.sort(key=_kind_and_key)
        groups = (self._replaces, self._extends, self._deletes, self._inserts, self._appends)
        arrays: list[Any] = []
        for group, rows in zip(GROUPS, groups, strict=True):
            # The first column stays whole: the longest array says how many rows there are.
            if rows:
                first, *others = zip(*rows, strict=True)
                arrays += [_Column(first), *map(_array, others)]
            else:
                arrays += [None] * group.width
        return arrays


_kind_and_key = itemgetter(1, 2)

_ADDERS: dict[type, Callable[[Call, int, Any, int | None], bool]] = {
    Insert: Call.insert,
    Replace: Call.replace,
    Extend: Call.extend,
    Delete: Call.delete,
    Append: Call.append,
}


class _Column:
    """An array for asyncpg, which goes through each one twice: first to find out which elements are arrays themselves,
    by abstract base classes, which takes longer than all else that it does. None of ours is, so it is shown none.

    Args:
        values: The elements, of which none is an array.
    """

    __slots__ = ("_is_shown", "_values")

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values = values
        self._is_shown = True

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        self._is_shown = not self._is_shown
        return iter(self._values if self._is_shown else ())


def _array(column: tuple[Any, ...]) -> _Column | None:
    """A column as the function takes it: one element where all are the same, ``None`` where all are."""
    first = column[0]
    if len(column) > 1 and first == column[-1] and column.count(first) == len(column):
        column = column[:1]
    return None if first is None and len(column) == 1 else _Column(column)
