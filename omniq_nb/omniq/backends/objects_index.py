"""The records of one kind in memory, in the orders in which claims, scans and counts want them.

Heaps and the list of keys may hold entries that are out of date: an entry counts only while the record is as it says.
They are dropped by whoever meets them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush

from ..clock import SECOND
from ..models.record import Filter
from .objects_format import Row

_SCAN_STEP = 50_000
"""Records that one scan looks at, so that it never holds the loop up for long."""
_FEW = 1000
"""So many entries that are out of date are not worth clearing up."""

_Entry = tuple[int, int, str, int]
"""Rank, created_at, key, version: an entry among the ready ones."""

RowPage = tuple[list[Row], str | None]


class KindIndex:
    """The records of one kind."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self._keys: list[str] = []
        self._gone: set[str] = set()
        self._ready: dict[str, list[_Entry]] = {}
        self._later: list[tuple[int, str, int]] = []
        # By second: a bucket is exact, and small enough to be sorted when it is asked for.
        self._expiring: dict[int, set[str]] = {}

    # --- changes ---

    def put(self, row: Row, now: int) -> Row | None:
        """Put a row in the place of what has its key; gives that."""
        key = row.key
        old = self.rows.get(key)
        self.rows[key] = row
        if old is None:
            self._add_key(key)
            self._tally(row, 1)
            if row.expires_at is not None:
                self._expire(row.expires_at, key)
        else:
            if row.state != old.state or row.partition != old.partition:
                self._tally(old, -1)
                self._tally(row, 1)
            if row.expires_at != old.expires_at:
                self._expire_no_more(old)
                if row.expires_at is not None:
                    self._expire(row.expires_at, key)
        if row.due_at is not None:
            self._enlist(row, row.due_at, now)
        return old

    def remove(self, key: str) -> Row | None:
        """Remove the row with this key, if there is one; gives it."""
        old = self.rows.pop(key, None)
        if old is not None:
            self._gone.add(key)
            self._tally(old, -1)
            self._expire_no_more(old)
            if len(self._gone) > len(self.rows) + _FEW:
                self._keys = [key for key in self._keys if key not in self._gone]
                self._gone.clear()
        return old

    def _add_key(self, key: str) -> None:
        if key in self._gone:
            self._gone.discard(key)
        elif not self._keys or key > self._keys[-1]:
            self._keys.append(key)  # time-ordered ids nearly always come this way
        else:
            insort(self._keys, key)

    def _tally(self, row: Row, n: int) -> None:
        group = (row.partition, row.state)
        total = self.counts.get(group, 0) + n
        if total:
            self.counts[group] = total
        else:
            del self.counts[group]

    def _expire(self, expires_at: int, key: str) -> None:
        self._expiring.setdefault(expires_at // SECOND, set()).add(key)

    def _expire_no_more(self, old: Row) -> None:
        if old.expires_at is not None:
            second = old.expires_at // SECOND
            bucket = self._expiring[second]
            bucket.discard(old.key)
            if not bucket:
                del self._expiring[second]

    def _enlist(self, row: Row, due_at: int, now: int) -> None:
        if due_at > now:
            heappush(self._later, (due_at, row.key, row.version))
            if len(self._later) > 2 * len(self.rows) + _FEW:
                self._clear_later()
        else:
            heap = self._ready.setdefault(row.partition, [])
            heappush(heap, (row.rank, row.created_at, row.key, row.version))
            if len(heap) > 2 * len(self.rows) + _FEW:
                self._clear_ready(row.partition)

    def _clear_later(self) -> None:
        self._later = list({entry for entry in self._later if self._is_later(entry)})
        heapify(self._later)

    def _is_later(self, entry: tuple[int, str, int]) -> bool:
        row = self.rows.get(entry[1])
        return row is not None and row.version == entry[2] and row.due_at == entry[0]

    def _clear_ready(self, partition: str) -> None:
        heap = list({entry for entry in self._ready[partition] if self._ready_row(entry, partition) is not None})
        heapify(heap)
        self._ready[partition] = heap

    # --- claims ---

    def _promote(self, now: int) -> None:
        """Make ready what was due later and is due now."""
        later = self._later
        while later and later[0][0] <= now:
            entry = heappop(later)
            row = self.rows.get(entry[1])
            if row is not None and row.version == entry[2] and row.due_at is not None and row.due_at <= now:
                self._enlist(row, row.due_at, now)

    def _ready_row(self, entry: _Entry, partition: str) -> Row | None:
        rank, created_at, key, version = entry
        row = self.rows.get(key)
        # Deleted and inserted anew, a record has the same version at another place.
        if (
            row is not None
            and row.version == version
            and row.created_at == created_at
            and row.rank == rank
            and row.partition == partition
            and row.due_at is not None
        ):
            return row
        return None

    def _pop_due(self, partition: str, now: int, seen: set[str]) -> _Entry | None:
        heap = self._ready.get(partition)
        while heap:
            entry = heappop(heap)
            row = self._ready_row(entry, partition)
            if row is None or row.due_at is None or entry[2] in seen:
                continue
            if row.due_at <= now:
                seen.add(entry[2])
                return entry
            # Its lease was extended, or the clock of whoever wrote it is ahead of this one.
            heappush(self._later, (row.due_at, row.key, row.version))
        if heap is not None:
            del self._ready[partition]
        return None

    def take(
        self,
        partitions: Sequence[str] | None,
        excluding: Collection[str],
        limit: int,
        now: int,
        taken: Iterable[str],
    ) -> list[Row]:
        """The first due rows in the order of claims, which leave the ready ones: see `put_back`.

        Args:
            partitions: See `Driver.claim`.
            excluding: See `Driver.claim`.
            limit: At most so many.
            now: The moment.
            taken: Keys of rows that are not to be had.
        """
        self._promote(now)
        seen = set(taken)  # a record whose due time was moved to and fro may be listed twice
        ordered = partitions is not None
        served = [name for name in dict.fromkeys(partitions or self._ready) if name not in excluding]
        if ordered and not partitions:
            return []
        # The first of each partition compete; who is taken is followed by the next of his own.
        heads: list[tuple[int, int, int, str, int, str]] = []
        for position, partition in enumerate(served):
            self._push_head(heads, position if ordered else 0, partition, now, seen)
        rows: list[Row] = []
        while heads and len(rows) < limit:
            _, position, _, key, _, partition = heappop(heads)
            rows.append(self.rows[key])
            self._push_head(heads, position, partition, now, seen)
        for rank, _, created_at, key, version, partition in heads:
            heappush(self._ready.setdefault(partition, []), (rank, created_at, key, version))
        return rows

    def _push_head(
        self,
        heads: list[tuple[int, int, int, str, int, str]],
        position: int,
        partition: str,
        now: int,
        seen: set[str],
    ) -> None:
        entry = self._pop_due(partition, now, seen)
        if entry is not None:
            rank, created_at, key, version = entry
            heappush(heads, (rank, position, created_at, key, version, partition))

    def put_back(self, row: Row) -> None:
        """Make ready again what was taken and not claimed after all."""
        if self.rows.get(row.key) is row and row.due_at is not None:
            heappush(self._ready.setdefault(row.partition, []), (row.rank, row.created_at, row.key, row.version))

    def next_due(self, now: int) -> int | None:
        """See `Driver.next_due`."""
        self._promote(now)
        while self._later:
            if self._is_later(self._later[0]):
                return self._later[0][0]
            heappop(self._later)
        return None

    # --- scans ---

    def scan(self, match: Filter, cursor: str | None, limit: int) -> RowPage:
        """See `Driver.scan`."""
        matching = sum(
            n
            for (partition, state), n in self.counts.items()
            if match.partition in (None, partition) and match.state in (None, state)
        )
        if not matching:
            return [], None
        if match.expires_before is not None:
            return self._scan_expiry(match, match.expires_before, cursor, limit)
        return self._scan_keys(match, cursor, limit, matching)

    def _scan_keys(self, match: Filter, cursor: str | None, limit: int, matching: int) -> RowPage:
        keys = self._keys
        low = bisect_left(keys, match.prefix)
        high = bisect_left(keys, match.prefix + "\U0010ffff") if match.prefix else len(keys)
        # Keys that go on with the last code point of all come after the bound, and still have the prefix.
        while match.prefix and high < len(keys) and keys[high].startswith(match.prefix):
            high += 1
        if cursor is not None and match.newest_first:
            high = min(high, bisect_left(keys, cursor))
        elif cursor is not None:
            low = max(low, bisect_right(keys, cursor))
        positions = range(high - 1, low - 1, -1) if match.newest_first else range(low, high)
        found: list[Row] = []
        for position in positions[:_SCAN_STEP]:
            row = self.rows.get(keys[position])
            if row is not None and match.partition in (None, row.partition) and match.state in (None, row.state):
                found.append(row)
                if len(found) == matching:
                    return found, None
                if len(found) == limit:
                    return found, row.key
        more = len(positions) > _SCAN_STEP
        return found, keys[positions[_SCAN_STEP - 1]] if more else None

    def _scan_expiry(self, match: Filter, before: int, cursor: str | None, limit: int) -> RowPage:
        after = (-(2**63), "")
        if cursor is not None:
            moment, _, key = cursor.partition(" ")
            after = (int(moment), key)
        found: list[Row] = []
        for expires_at, key in self._expired(after, before):
            row = self.rows[key]
            if (
                match.partition in (None, row.partition)
                and match.state in (None, row.state)
                and key.startswith(match.prefix)
            ):
                found.append(row)
                if len(found) == limit:
                    return found, f"{expires_at} {key}"
        return found, None

    def _expired(self, after: tuple[int, str], before: int) -> Iterator[tuple[int, str]]:
        first, last = after[0] // SECOND, (before - 1) // SECOND
        for second in sorted(second for second in self._expiring if first <= second <= last):
            bucket = [(self.rows[key].expires_at or 0, key) for key in self._expiring[second]]
            for each in sorted(bucket):
                if after < each and each[0] < before:
                    yield each
