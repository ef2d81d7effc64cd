"""The records of one kind in memory, with what finds them fast: by key, by expiry, and by whose turn it is.

The heaps and lists hold entries that may be out of date; what they find does not depend on those.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from ..models.record import Filter
from .nats_wire import Row, Take

_Entry = tuple[int, int, str, int]

_SCAN_STEP = 50_000
"""Keys that one page of a scan looks at."""


class _Queue:
    """Where claims look for a partition's due records, each as (rank, created_at, key, version).

    What comes in order, as nearly everything does, is appended to a line, whose head costs the same however long it is;
    the rest is in a heap. An entry counts only while the record still says the same.
    """

    __slots__ = ("_line", "_rest")

    def __init__(self) -> None:
        self._line: deque[_Entry] = deque()
        self._rest: list[_Entry] = []

    def add(self, entry: _Entry) -> None:
        """Take an entry in."""
        if not self._line or entry >= self._line[-1]:
            self._line.append(entry)
        else:
            heappush(self._rest, entry)

    def first(self) -> _Entry | None:
        """The first in order."""
        line, rest = self._line, self._rest
        if line and (not rest or line[0] <= rest[0]):
            return line[0]
        return rest[0] if rest else None

    def drop_first(self) -> None:
        """Take the first one out."""
        line, rest = self._line, self._rest
        if line and (not rest or line[0] <= rest[0]):
            line.popleft()
        else:
            heappop(rest)


class Shelf:
    """The records of one kind."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.counts: dict[tuple[str, str], int] = {}
        # Sorted; may hold keys that were deleted, which are then in `gone`: a list is slow to take things out of.
        self.keys: list[str] = []
        self.gone: set[str] = set()
        self.ready: dict[str, _Queue] = {}
        self.later: list[tuple[int, str]] = []  # a heap; an entry counts only while the record still says the same
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
        if row.due_at is not None:
            self._enlist(row, row.due_at, row.updated_at)
        if row.expires_at is not None:
            self._will_expire(row, row.expires_at)

    def put(self, row: Row, old: Row) -> None:
        """Put a record in the place of its previous version."""
        self.rows[row.key] = row
        if row.state != old.state or row.partition != old.partition:
            self._tally(old, -1)
            self._tally(row, 1)
        if row.due_at is not None:
            self._enlist(row, row.due_at, row.updated_at)
        if row.expires_at is not None and row.expires_at != old.expires_at:
            self._will_expire(row, row.expires_at)

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
        self.counts[group] = self.counts.get(group, 0) + n

    def _will_expire(self, row: Row, moment: int) -> None:
        entry = (moment, row.key)
        if self.expiring and entry < self.expiring[-1]:
            self.expiring_is_sorted = False
        self.expiring.append(entry)

    def _enlist(self, row: Row, due_at: int, now: int) -> None:
        """Put a record where claims look for it; a moment that is not quite right costs only another look."""
        if due_at > now:
            heappush(self.later, (due_at, row.key))
            return
        queue = self.ready.get(row.partition)
        if queue is None:
            queue = self.ready[row.partition] = _Queue()
        queue.add((row.rank, row.created_at, row.key, row.version))

    # --- claiming ---

    def promote(self, now: int) -> None:
        """Enlist anew what was due later and is due now."""
        later = self.later
        while later and later[0][0] <= now:
            due_at, key = heappop(later)
            row = self.rows.get(key)
            if row is not None and row.due_at == due_at:
                self._enlist(row, due_at, now)

    def _first(self, partition: str, now: int) -> tuple[int, int, str] | None:
        """The order of a partition's first due record; entries that are out of date are dropped on the way."""
        queue = self.ready.get(partition)
        if queue is None:
            return None
        while (entry := queue.first()) is not None:
            rank, created_at, key, version = entry
            row = self.rows.get(key)
            # Deleted and inserted anew, a record may have the same version at another place.
            if row is not None and (row.rank, row.created_at, row.version, row.partition) == (
                rank, created_at, version, partition,
            ):  # fmt: skip
                due_at = row.due_at
                if due_at is not None and due_at <= now:
                    return rank, created_at, key
                if due_at is not None:
                    heappush(self.later, (due_at, key))
            queue.drop_first()
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
            self.ready[name].drop_first()
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

    def count(self) -> dict[tuple[str, str], int]:
        """See `Driver.count`."""
        return {group: n for group, n in self.counts.items() if n}

    # --- scanning ---

    def scan(self, match: Filter, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """See `Driver.scan`."""
        if not any(
            n and match.partition in (None, partition) and match.state in (None, state)
            for (partition, state), n in self.counts.items()
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
