"""The state that a log leads to: pure, without I/O; every process that applies a log has the same one.

What an operation does depends on the operations before it and on nothing else: not on this machine's clock, nor on
chance, nor on what other processes are doing. (The indexes of `nats_shelf` may differ between processes; what they find
does not.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..models.record import RUNNING
from ..storage.driver import Key
from .nats_segments import Segments
from .nats_shelf import Shelf
from .nats_wire import Drop, Move, Put, Request, Row, Saved, Swap, Take, Tell, Trim, Unstand

Outcome = bool | int | list[Row]
"""Of an operation: whether it applied; of a `Take` the rows; of a `Trim` the number of events."""


class Replica:
    """Everything that a log says, up to one of its messages.

    Attributes:
        seq: The last message that was applied.
        now: The server's clock at that message; it never goes back.
        shelves: The records, by kind.
        segments: Where the events lie.
        wrote: The last transaction wrote something: there is a hint to give.
        made_claimable: It may have made something claimable.
        told: Events of the last transaction, raw, as they were appended.
        handed: What the last transaction has handed over to claims that stood: owners and their rows.
        freed: Blobs that the last transaction left without a record.
        saved: The last message that a snapshot covers, and the snapshot's size.
        grown: Bytes of log since that was written.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.now = 0
        self.shelves: dict[str, Shelf] = {}
        self.segments = Segments()
        self.wrote = self.made_claimable = False
        self.told: list[Tell] = []
        self.handed: list[tuple[str, list[Row]]] = []
        self.freed: list[str] = []
        self.saved = (0, 0)
        self.grown = 0
        self._standing: dict[str, dict[str, tuple[Take, int]]] = {}  # kind, owner, until when
        self._claimable: dict[str, int] = {}  # of what kinds the last transaction made how many records claimable
        self._latest = 0  # the latest moment at which one of these was changed, by the writer's clock
        self._names: dict[str, str] = {}  # kinds, partitions, states, owners: one object for all equal ones

    def row(self, key: Key) -> Row | None:
        """The record with this kind and key."""
        shelf = self.shelves.get(key[0])
        return None if shelf is None else shelf.rows.get(key[1])

    def shelf(self, kind: str) -> Shelf:
        """The records of a kind."""
        found = self.shelves.get(kind)
        if found is None:
            found = self.shelves[kind] = Shelf()
        return found

    # --- one transaction ---

    def apply(self, requests: Sequence[Request], at: int, now: int, places: tuple[int, ...]) -> list[list[Outcome]]:
        """Carry out a transaction.

        Args:
            requests: Of one or more callers.
            at: The sequence number at which it is complete.
            now: The server's clock.
            places: The sequence numbers of its messages.

        Returns:
            An outcome for each operation of each request.
        """
        self.now = max(self.now, now)
        self.wrote = self.made_claimable = False
        self.told, self.freed, self.handed = [], [], []
        self._claimable.clear()
        self._latest = 0
        unheard: list[int] = []
        outcomes = [self._apply_request(request, unheard) for request in requests]
        for kind, claimable in self._claimable.items():
            if self._hand_over(kind) < claimable:
                self.made_claimable = True
        if self.told:
            self.segments.add(at, self.told, unheard, places)
        return outcomes

    def _apply_request(self, request: Request, unheard: list[int]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for op in request:
            after = op.after
            if after is not None and not (0 <= after < len(outcomes) and outcomes[after]):
                outcomes.append(False)
                if type(op) is Tell:
                    unheard.append(len(self.told) + len(unheard))
            else:
                outcomes.append(_APPLY[type(op)](self, op))
        return outcomes

    def _put(self, op: Put) -> bool:
        row = op.row
        shelf = self.shelf(row.kind)
        if row.key in shelf.rows:
            if row.blob is not None:
                self.freed.append(row.blob)
            return False
        self._share_names(row)
        shelf.add(row)
        self._note(row)
        return True

    def _swap(self, op: Swap) -> bool:
        row = op.row
        old = self._fenced(row.kind, row.key, row.version - 1, row.created_at)
        if old is None:
            if row.blob is not None:
                self.freed.append(row.blob)
            return False
        if op.same_body:
            row.body, row.blob = old.body, old.blob
        elif old.blob is not None:
            self.freed.append(old.blob)
        self._share_names(row)
        self.shelves[row.kind].put(row, old)
        self._note(row)
        return True

    def _move(self, op: Move) -> bool:
        old = self._fenced(op.kind, op.key, op.version, op.created_at)
        if old is None:
            return False
        self.shelves[op.kind].put(_changed(old, old.state, op.due_at, old.owner, 0, old.updated_at), old)
        self.wrote = True
        return True

    def _drop(self, op: Drop) -> bool:
        old = self._fenced(op.kind, op.key, op.version, op.created_at)
        if old is None:
            return False
        self.shelves[op.kind].remove(old)
        if old.blob is not None:
            self.freed.append(old.blob)
        self.wrote = True
        return True

    def _tell(self, op: Tell) -> bool:
        self.told.append(op)
        self.wrote = True
        return True

    def _take(self, op: Take) -> list[Row]:
        now = self.now if op.now is None else op.now
        taken = self._taken(op, now, op.lease)
        standing = self._standing.setdefault(op.kind, {})
        standing.pop(op.owner, None)  # who stands anew goes to the end
        if op.lasts and not taken:
            standing[op.owner] = (op, now + op.lasts)
        return taken

    def _taken(self, op: Take, now: int, lease: int) -> list[Row]:
        shelf, due_at = self.shelf(op.kind), now + lease
        owner = self._names.setdefault(op.owner, op.owner)
        taken: list[Row] = []
        for old in shelf.due(op, now):
            row = _changed(old, RUNNING, due_at, owner, 1, now)
            shelf.put(row, old)
            taken.append(row)
        return taken

    def _hand_over(self, kind: str) -> int:
        """Carry out the claims that stand, those that have stood longest first; says how many records they took."""
        standing = self._standing.get(kind, {})
        handed = 0
        for owner, (op, until) in tuple(standing.items()):
            # Where a test moves time, nobody but the writer knows it.
            now = self.now if op.now is None else max(op.now, self._latest)
            taken = self._taken(op, now, op.handed_lease) if now <= until else []
            if taken or now > until:
                del standing[owner]
            if taken:
                self.handed.append((owner, taken))
                handed += len(taken)
            elif not self.shelf(kind).has_due(None, (), now):
                break
        return handed

    def _unstand(self, op: Unstand) -> bool:
        standing = self._standing.get(op.kind, {})
        if op.owner is None:
            standing.clear()
        else:
            standing.pop(op.owner, None)
        return True

    def stands(self, kind: str, owner: str) -> tuple[Take, int] | None:
        """The claim of a kind that an owner has left standing, and until when it stands."""
        return self._standing.get(kind, {}).get(owner)

    @property
    def standing(self) -> list[tuple[Take, int]]:
        """All claims that stand, and until when; of a kind, those that have stood longest first."""
        return [each for of_kind in self._standing.values() for each in of_kind.values()]

    def _trim(self, op: Trim) -> int:
        return self.segments.trim(op.before, op.partly)

    def _saved(self, op: Saved) -> bool:
        if op.at > self.saved[0]:
            self.saved, self.grown = (op.at, op.size), 0
        return True

    def restore(self, row: Row) -> None:
        """Put in a record of a snapshot."""
        self._share_names(row)
        if row.owner is not None:
            row.owner = self._names.setdefault(row.owner, row.owner)
        self.shelf(row.kind).add(row)

    def restore_standing(self, standing: Sequence[tuple[Take, int]]) -> None:
        """Put in the claims that stand of a snapshot."""
        for op, until in standing:
            self._standing.setdefault(op.kind, {})[op.owner] = (op, until)

    def _fenced(self, kind: str, key: str, version: int, created_at: int) -> Row | None:
        """The record, if it is still the one that the operation names: the fence."""
        shelf = self.shelves.get(kind)
        row = None if shelf is None else shelf.rows.get(key)
        if row is None or row.version != version or row.created_at != created_at:
            return None
        return row

    def _note(self, row: Row) -> None:
        self.wrote = True
        if row.due_at is not None:
            self._claimable[row.kind] = self._claimable.get(row.kind, 0) + 1
            self._latest = max(self._latest, row.updated_at)

    def _share_names(self, row: Row) -> None:
        shared = self._names.setdefault
        row.kind = shared(row.kind, row.kind)
        row.partition = shared(row.partition, row.partition)
        row.state = shared(row.state, row.state)


def _changed(old: Row, state: str, due_at: int, owner: str | None, claims: int, updated_at: int) -> Row:
    """A copy of the row after a claim (``claims=1``) or an extension."""
    return Row(
        old.kind, old.key, old.partition, state, old.rank, due_at, owner, old.claims + claims, old.version + claims,
        old.created_at, updated_at, old.expires_at, old.body, old.blob,
    )  # fmt: skip


# By type, not by `match`: this is what a process does most.
_APPLY: dict[type, Any] = {
    Put: Replica._put,  # noqa: SLF001 -- the class's own methods
    Swap: Replica._swap,  # noqa: SLF001
    Move: Replica._move,  # noqa: SLF001
    Drop: Replica._drop,  # noqa: SLF001
    Tell: Replica._tell,  # noqa: SLF001
    Take: Replica._take,  # noqa: SLF001
    Unstand: Replica._unstand,  # noqa: SLF001
    Trim: Replica._trim,  # noqa: SLF001
    Saved: Replica._saved,  # noqa: SLF001
}
