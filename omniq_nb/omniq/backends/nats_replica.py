"""The state that a log leads to: pure, without I/O; every process that applies a log has the same one.

What an operation does depends on the operations before it and on nothing else: not on this machine's clock, nor on
chance, nor on what other processes are doing. (The heaps and lists that find records fast hold entries that may be out
of date, and processes may differ in those; what they find does not depend on it.)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

from ..models.record import RUNNING, Filter
from ..storage.driver import Key
from .nats_segments import Segments
from .nats_wire import Drop, Move, Put, Request, Row, Saved, Swap, Take, Tell, Trim

Outcome = bool | int | list[Row]
"""Of an operation: whether it applied; of a `Take` the rows; of a `Trim` the number of events."""

_SCAN_STEP = 50_000
"""Keys that one page of a scan looks at."""


class Shelf:
    """The records of one kind."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.counts: dict[tuple[str, str], int] = {}
        # Sorted; may hold keys that were deleted, which are then in `gone`: a list is slow to take things out of.
        self.keys: list[str] = []
        self.gone: set[str] = set()
        # Heaps of entries that count only while the record still says the same.
        self.ready: dict[str, list[tuple[int, int, str, int]]] = {}
        self.later: list[tuple[int, str]] = []
        self.expiring: list[tuple[int, str]] = []  # sorted when asked for
        self.expiring_is_sorted = True

    # --- changing ---

    def add(self, row: Row) -> None:
        """Put a new record in."""
        key = row.key
        self.rows[key] = row
        if self.gone and key in self.gone:
            self.gone.remove(key)
        elif not self.keys or key > self.keys[-1]:
            self.keys.append(key)  # time-ordered ids nearly always come this way
        else:
            insort(self.keys, key)
        self._tally(row, 1)
        self._enlist(row, row.updated_at)
        if row.expires_at is not None:
            self._will_expire(row)

    def put(self, row: Row, old: Row) -> None:
        """Put a record in the place of its previous version."""
        self.rows[row.key] = row
        if row.state != old.state or row.partition != old.partition:
            self._tally(old, -1)
            self._tally(row, 1)
        self._enlist(row, row.updated_at)
        if row.expires_at is not None and row.expires_at != old.expires_at:
            self._will_expire(row)

    def remove(self, row: Row) -> None:
        """Take a record out."""
        del self.rows[row.key]
        self._tally(row, -1)
        self.gone.add(row.key)
        if len(self.gone) > 1000 + len(self.rows):
            self.keys = sorted(self.rows)
            self.gone.clear()

    def _tally(self, row: Row, n: int) -> None:
        group = (row.partition, row.state)
        total = self.counts.get(group, 0) + n
        if total:
            self.counts[group] = total
        else:
            del self.counts[group]

    def _will_expire(self, row: Row) -> None:
        entry = (row.expires_at or 0, row.key)
        if self.expiring and entry < self.expiring[-1]:
            self.expiring_is_sorted = False
        self.expiring.append(entry)

    def _enlist(self, row: Row, now: int) -> None:
        """Put a record where claims look for it; a moment that is not quite right costs only another look."""
        due_at = row.due_at
        if due_at is None:
            return
        if due_at > now:
            heappush(self.later, (due_at, row.key))
            return
        heap = self.ready.get(row.partition)
        if heap is None:
            heap = self.ready[row.partition] = []
        heappush(heap, (row.rank, row.created_at, row.key, row.version))

    # --- claiming ---

    def promote(self, now: int) -> None:
        """Enlist anew what was due later and is due now."""
        later = self.later
        while later and later[0][0] <= now:
            due_at, key = heappop(later)
            row = self.rows.get(key)
            if row is not None and row.due_at == due_at:
                self._enlist(row, now)

    def _first(self, partition: str, now: int) -> tuple[int, int, str] | None:
        """The order of a partition's first due record; entries that are out of date are dropped on the way."""
        heap = self.ready.get(partition)
        if heap is None:
            return None
        while heap:
            rank, created_at, key, version = heap[0]
            row = self.rows.get(key)
            # Deleted and inserted anew, a record may have the same version at another place.
            if row is not None and (row.rank, row.created_at, row.version, row.partition) == (
                rank, created_at, version, partition,
            ):  # fmt: skip
                if row.due_at is not None and row.due_at <= now:
                    return rank, created_at, key
                self._enlist(row, now)
            heappop(heap)
        del self.ready[partition]
        return None

    def _served(self, partitions: Sequence[str] | None, excluding: Collection[str]) -> list[tuple[int, str]]:
        if partitions is None:
            return [(0, name) for name in self.ready if name not in excluding]
        return [(n, name) for n, name in enumerate(dict.fromkeys(partitions)) if name not in excluding]

    def has_due(self, partitions: Sequence[str] | None, excluding: Collection[str], now: int) -> bool:
        """Whether a claim would find anything."""
        self.promote(now)
        return any(self._first(name, now) for _, name in self._served(partitions, excluding))

    def due(self, take: Take, now: int) -> Iterator[Row]:
        """Due records in order; the caller claims each before he asks for the next."""
        self.promote(now)
        heads: list[tuple[int, int, int, str, str]] = []
        for position, name in self._served(take.partitions, take.excluding):
            if (first := self._first(name, now)) is not None:
                rank, created_at, key = first
                heads.append((rank, position, created_at, key, name))
        heapify(heads)
        for _ in range(take.limit):
            if not heads:
                return
            _, position, _, key, name = heads[0]
            heappop(self.ready[name])
            yield self.rows[key]
            if (first := self._first(name, now)) is not None:
                heapreplace(heads, (first[0], position, first[1], first[2], name))
            else:
                heappop(heads)

    def next_due(self, now: int) -> int | None:
        """See `Driver.next_due`."""
        self.promote(now)
        while self.later:
            due_at, key = self.later[0]
            row = self.rows.get(key)
            if row is not None and row.due_at == due_at:
                return due_at
            heappop(self.later)
        return None

    # --- scanning ---

    def scan(self, match: Filter, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """See `Driver.scan`."""
        if not any(
            match.partition in (None, partition) and match.state in (None, state) for partition, state in self.counts
        ):
            return [], None
        if match.expires_before is not None:
            return self._scan_expiring(match, match.expires_before, cursor, limit)
        return self._scan_keys(match, cursor, limit)

    def _scan_keys(self, match: Filter, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        keys = self.keys
        low = bisect_left(keys, match.prefix)
        # U+10FFFF is the last code point, and may itself follow the prefix any number of times.
        high = bisect_right(keys, match.prefix, key=lambda key: key[: len(match.prefix)]) if match.prefix else len(keys)
        if cursor is not None and match.newest_first:
            high = min(high, bisect_left(keys, cursor))
        elif cursor is not None:
            low = max(low, bisect_right(keys, cursor))
        step = range(high - 1, low - 1, -1) if match.newest_first else range(low, high)
        found: list[Row] = []
        for n, at in enumerate(step):
            if len(found) >= limit or n >= _SCAN_STEP:
                return found, keys[step[n - 1]]
            row = self.rows.get(keys[at])
            if row is not None and _fits(row, match):
                found.append(row)
        return found, None

    def _scan_expiring(
        self, match: Filter, before: int, cursor: str | None, limit: int
    ) -> tuple[list[Row], str | None]:
        self._sort_expiring()
        start = 0
        if cursor is not None:
            moment, _, key = cursor.partition(" ")
            start = bisect_right(self.expiring, (int(moment), key))
        found: list[Row] = []
        for at in range(start, bisect_left(self.expiring, (before,))):
            expires_at, key = self.expiring[at]
            row = self.rows.get(key)
            if row is None or row.expires_at != expires_at or (at and self.expiring[at - 1] == self.expiring[at]):
                continue
            if key.startswith(match.prefix) and _fits(row, match):
                found.append(row)
                if len(found) >= limit:
                    return found, f"{expires_at} {key}"
        return found, None

    def _sort_expiring(self) -> None:
        if len(self.expiring) > 1000 + 2 * len(self.rows):  # most of it no longer holds
            self.expiring = [(row.expires_at, row.key) for row in self.rows.values() if row.expires_at is not None]
            self.expiring_is_sorted = False
        if not self.expiring_is_sorted:
            self.expiring.sort()
            self.expiring_is_sorted = True


def _fits(row: Row, match: Filter) -> bool:
    return match.partition in (None, row.partition) and match.state in (None, row.state)


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
        self.freed: list[str] = []
        self.saved = (0, 0)
        self.grown = 0
        self._names: dict[str, str] = {}  # partitions, states and owners: one object for all equal ones

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
        self.told, self.freed = [], []
        unheard: list[int] = []
        outcomes = [self._apply_request(request, unheard) for request in requests]
        if self.told:
            self.segments.add(at, self.told, unheard, places)
        return outcomes

    def _apply_request(self, request: Request, unheard: list[int]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for op in request:
            after = getattr(op, "after", None)
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
        old = self._standing(row.kind, row.key, row.version - 1, row.created_at)
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
        old = self._standing(op.kind, op.key, op.version, op.created_at)
        if old is None:
            return False
        self.shelves[op.kind].put(_changed(old, old.state, op.due_at, old.owner, 0, old.updated_at), old)
        self.wrote = True
        return True

    def _drop(self, op: Drop) -> bool:
        old = self._standing(op.kind, op.key, op.version, op.created_at)
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
        shelf, due_at = self.shelf(op.kind), now + op.lease
        owner = self._names.setdefault(op.owner, op.owner)
        taken: list[Row] = []
        for old in shelf.due(op, now):
            row = _changed(old, RUNNING, due_at, owner, 1, now)
            shelf.put(row, old)
            taken.append(row)
        return taken

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

    def _standing(self, kind: str, key: str, version: int, created_at: int) -> Row | None:
        """The record, if it is still the one that the operation names: the fence."""
        shelf = self.shelves.get(kind)
        row = None if shelf is None else shelf.rows.get(key)
        if row is None or row.version != version or row.created_at != created_at:
            return None
        return row

    def _note(self, row: Row) -> None:
        self.wrote = True
        if row.due_at is not None:
            self.made_claimable = True

    def _share_names(self, row: Row) -> None:
        shared = self._names.setdefault
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
    Trim: Replica._trim,  # noqa: SLF001
    Saved: Replica._saved,  # noqa: SLF001
}
