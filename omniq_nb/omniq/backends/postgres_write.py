"""Batches of operations as calls of one function in PostgreSQL (`omniq.backends.postgres_functions`).

The usual batch is one call: replacements, extensions and deletions, then insertions, then events, the later ones
guarded by the earlier. What does not fit into that order (two operations on one record, an insertion that hangs on
another) goes into further calls, which must be made in one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import astuple

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
        self._ops: list[Any] = []
        self._guards: list[int] = []
        for ops in batches:
            base = len(self._ops)
            self._ops += ops
            for op in ops:
                self._guards.append(_UNGUARDED if op.after is None else self._guard(op.after + base))
        self.outcomes = [True] * len(self._ops)

    def _guard(self, n: int) -> int:
        """What hangs on this operation hangs on: an event applies when its own guard does, so that one counts."""
        return self._guards[n] if type(self._ops[n]) is Append else n

    def calls(self) -> Iterator[Call]:
        """The calls; the last one says that it is (`Call.is_last`)."""
        end = 0
        while True:
            call = Call(self._ops, self._guards, end)
            end = self._fill(call)
            call.is_last = end == len(self._ops)
            yield call
            self._note(call, end)
            if call.is_last:
                return

    def _fill(self, call: Call) -> int:
        """Take in as many operations as fit, and give the number of the next one.

        Each must name a record of its own, and a record that is replaced, extended or deleted can't hang on anything of
        the same call, nor an insertion on another. Events fit everywhere.
        """
        # This loop is the writer's hottest: it sorts operations by kind, of each of which rows are made at one go.
        ops, guards, outcomes, taken = self._ops, self._guards, self.outcomes, call.taken
        named: defaultdict[str, set[str]] = defaultdict(set)
        room = _BYTES_PER_CALL
        end = min(call.first + _OPS_PER_CALL, len(ops))
        for n in range(call.first, end):
            op, guard = ops[n], guards[n]
            if room <= 0:
                return n
            if guard >= 0 and not outcomes[guard]:
                outcomes[n] = False
                continue
            kind = type(op)
            if kind is Append:
                room -= _EVENT_BYTES * len(op.events)
            else:
                if guard >= call.first and (kind is not Insert or type(ops[guard]) is Insert):
                    return n
                record = op.record if kind is Insert else op.previous
                keys = named[record.kind]
                if record.key in keys:
                    return n
                keys.add(record.key)
                if kind is Insert or (kind is Replace and op.record.body is not record.body):
                    room -= len(op.record.body)
            taken[kind].append(n)
        return end

    def _note(self, call: Call, end: int) -> None:
        if not call.failed:
            return
        outcomes = self.outcomes
        for n in call.failed:
            outcomes[n] = False
        for n in range(call.first, end):
            guard = self._guards[n]
            outcomes[n] = outcomes[n] and (guard < 0 or outcomes[guard])


class Call:
    """Operations of which no two name the same record, as the function's arrays.

    Args:
        ops: The batch's operations.
        guards: Numbers of those that they hang on.
        first: Number of the call's first operation; a guard with a smaller number has been passed.

    Attributes:
        taken: The numbers of its operations of each kind.
        is_last: No other call follows.
        failed: Numbers of the operations that did not apply, once the call is made.
    """

    def __init__(self, ops: Sequence[Any], guards: Sequence[int], first: int) -> None:
        self._ops = ops
        self._guards = guards
        self.first = first
        self.taken: dict[type, list[int]] = {kind: [] for kind in (Replace, Extend, Delete, Insert, Append)}
        self.is_last = False
        self.failed: Sequence[int] = ()

    def arrays(self) -> list[Any]:
        """The function's arrays, in its order."""
        arrays: list[Any] = []
        for group, rows in zip(GROUPS, self._rows(), strict=True):
            if rows:
                # The last column stays whole: the longest array says how many rows there are.
                *others, last = zip(*rows, strict=True)
                arrays += [*map(_array, others), _Column(last)]
            else:
                arrays += [None] * group.width
        return arrays

    def _rows(self) -> Iterator[list[_Row]]:
        """Rows of the function's groups, those of records in order of kind and key, with which they begin: so two
        writers lock the records of both in the same order.
        """
        ops, taken, first = self._ops, self.taken, self.first
        yield sorted(_replacement(ops[n].record, ops[n].previous, n) for n in taken[Replace])
        yield sorted((*_fence(ops[n].previous), ops[n].due_at, n) for n in taken[Extend])
        yield sorted((*_fence(ops[n].previous), n) for n in taken[Delete])
        guards = [guard if guard >= first else _UNGUARDED for guard in self._guards]
        # Adding tuples takes half as long as unpacking them into others.
        yield sorted([astuple(ops[n].record) + (guards[n], n) for n in taken[Insert]])  # noqa: RUF005
        yield [astuple(event) + (guards[n],) for n in taken[Append] for event in ops[n].events]  # noqa: RUF005


def _replacement(r: Record, old: Record, n: int) -> _Row:
    body = None if r.body is old.body else r.body
    return (
        *_fence(old), r.partition, r.state, r.rank, r.due_at, r.owner, r.claims, r.updated_at, r.expires_at, body, n
    )  # fmt: skip


def _fence(r: Record) -> _Row:
    return r.kind, r.key, r.version, r.created_at


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
