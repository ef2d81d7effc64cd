"""What a store in memory consists of: records, the index that claims and scans look at, counts and events."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from heapq import heappop, heappush
from io import BytesIO
from typing import Generic, TypeVar
from urllib.parse import quote

from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from ..models.event import TaskEvent
from ..models.record import RUNNING, Record
from ..storage.driver import Key
from ..storage.watch import Watchers

_is_safe = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch

_Group = tuple[str, str, str]
_Ready = tuple[int, int, str, int]
"""Rank, moment of making, key and version."""
_Later = tuple[int, str, int]
"""Moment, key and version."""
_Entry = TypeVar("_Entry", _Ready, _Later)


class _Line(Generic[_Entry]):
    """Entries of which the least comes first. Most arrive in order and only queue up, which costs less than a heap."""

    def __init__(self) -> None:
        self._queue: deque[_Entry] = deque()
        self._heap: list[_Entry] = []

    def push(self, entry: _Entry) -> None:
        if not self._queue or entry > self._queue[-1]:
            self._queue.append(entry)
        else:
            heappush(self._heap, entry)

    def first(self) -> _Entry | None:
        queue, heap = self._queue, self._heap
        if heap and (not queue or heap[0] < queue[0]):
            return heap[0]
        return queue[0] if queue else None

    def drop_first(self) -> None:
        queue, heap = self._queue, self._heap
        if heap and (not queue or heap[0] < queue[0]):
            heappop(heap)
        else:
            queue.popleft()


class _Body(MemoryFile):  # type: ignore[misc]  # fsspec has no types
    """fsspec's own at a third of its price: without a line for the log, a dict and a second look at the clock."""

    __slots__ = ("created", "fs", "modified", "path")

    def __init__(self, files: MemoryFileSystem, path: str, data: bytes) -> None:
        BytesIO.__init__(self, data)
        self.fs, self.path = files, path
        self.created = self.modified = datetime.now(UTC)


class Store:
    """The shared state of one name. Its methods expect the lock to be held."""

    def __init__(self, name: str) -> None:
        self.lock = threading.Lock()
        self.root = f"/omniq/{quote(name, safe='')}" if name else "/omniq"
        self.files = MemoryFileSystem()
        self.records: dict[Key, Record] = {}
        self.keys: dict[str, list[str]] = {}
        self.counts: defaultdict[_Group, int] = defaultdict(int)
        # Their entries may be out of date: one counts only while the record has its version.
        self.ready: defaultdict[str, defaultdict[str, _Line[_Ready]]] = defaultdict(lambda: defaultdict(_Line[_Ready]))
        self.later: defaultdict[str, _Line[_Later]] = defaultdict(_Line[_Later])
        self.events: list[TaskEvent] = []
        self.positions: list[int] = []  # of the events; trimming leaves gaps
        self.position = 0
        self.watchers: set[Watchers] = set()  # of the drivers that are open
        self.claimable = False  # whether a record with a moment to be claimed at was put, since this was last reset

    # --- bodies ---

    def path(self, kind: str, key: str) -> str:
        # Nearly all keys are safe as they are, and asking is cheaper than quoting.
        return f"{self.root}/{kind}/{key if _is_safe(key) else quote(key, safe='')}"

    def write_body(self, record: Record) -> None:
        path = self.path(record.kind, record.key)
        # What pipe_file does after checking the path that was just built.
        self.files.store[path] = _Body(self.files, path, record.body)

    # --- one record ---

    def add(self, record: Record, now: int) -> None:
        key = (record.kind, record.key)
        keys = self.keys.setdefault(record.kind, [])
        if not keys or record.key > keys[-1]:
            keys.append(record.key)  # time-ordered ids nearly always come this way
        else:
            insort(keys, record.key)
        self.records[key] = record
        self.write_body(record)
        self.tally(record, 1)
        if record.due_at is not None:
            self.claimable = True
            self.enlist(record, now)

    def put(self, record: Record, previous: Record, now: int) -> None:
        self.records[previous.kind, previous.key] = record
        if record.body is not previous.body:
            self.write_body(record)
        if record.state != previous.state or record.partition != previous.partition:
            self.tally(previous, -1)
            self.tally(record, 1)
        if record.due_at is not None:
            self.claimable = True
            self.enlist(record, now)

    def remove(self, record: Record) -> None:
        del self.records[record.kind, record.key]
        keys = self.keys[record.kind]
        del keys[bisect_left(keys, record.key)]
        self.files.store.pop(self.path(record.kind, record.key), None)
        self.tally(record, -1)

    def tally(self, record: Record, n: int) -> None:
        self.counts[record.kind, record.partition, record.state] += n

    def enlist(self, record: Record, now: int) -> None:
        """Put the record where claims look for it."""
        if record.due_at is None:
            return
        if record.due_at > now:
            self.later[record.kind].push((record.due_at, record.key, record.version))
        else:
            entry = (record.rank, record.created_at, record.key, record.version)
            self.ready[record.kind][record.partition].push(entry)

    # --- claims ---

    def promote(self, kind: str, now: int) -> None:
        """Enlist anew what was due later and is due now."""
        later = self.later[kind]
        while (entry := later.first()) is not None and entry[0] <= now:
            later.drop_first()
            _, key, version = entry
            record = self.records.get((kind, key))
            if record is not None and record.version == version:
                self.enlist(record, now)  # where its lease was extended: among the later ones again

    def first(self, kind: str, partition: str, now: int) -> tuple[int, int, str] | None:
        """The order of the partition's first due record; entries that are out of date are dropped on the way."""
        line = self.ready[kind][partition]
        while (entry := line.first()) is not None:
            rank, created_at, key, version = entry
            record = self.records.get((kind, key))
            # Deleted and inserted anew, a record has the same version at another place.
            if (
                record is not None
                and record.version == version
                and record.created_at == created_at
                and record.rank == rank
                and record.partition == partition
            ):
                if record.due_at is not None and record.due_at <= now:
                    return rank, created_at, key
                self.enlist(record, now)
            line.drop_first()
        return None

    def take(self, kind: str, partitions: Sequence[str], *, ordered: bool, limit: int, now: int) -> Iterator[Record]:
        """The next records in order; the caller claims each before he asks for another."""
        # Each partition's first record: rank, place among the partitions, age, partition.
        firsts: list[tuple[int, int, int, str, str]] = []
        places = {partition: place if ordered else 0 for place, partition in enumerate(partitions)}

        def look(partition: str) -> None:
            if (first := self.first(kind, partition, now)) is not None:
                rank, created_at, key = first
                heappush(firsts, (rank, places[partition], created_at, key, partition))

        for partition in partitions:
            look(partition)
        for _ in range(limit):
            if not firsts:
                return
            _, _, _, key, partition = heappop(firsts)
            self.ready[kind][partition].drop_first()
            yield self.records[kind, key]
            look(partition)

    def lease(self, record: Record, owner: str, due_at: int, now: int) -> None:
        """Claim a record, in its place: nobody else has it."""
        self.tally(record, -1)
        record.state, record.owner, record.due_at, record.updated_at = RUNNING, owner, due_at, now
        record.claims += 1
        record.version += 1
        self.tally(record, 1)
        self.enlist(record, now)


_stores: dict[str, Store] = {}
_stores_lock = threading.Lock()


def store_of(name: str) -> Store:
    """The process's store of this name; made when first asked for."""
    with _stores_lock:
        if name not in _stores:
            _stores[name] = Store(name)
        return _stores[name]


def forget(name: str) -> None:
    """Drop the store of this name with all that is in it."""
    with _stores_lock:
        store = _stores.pop(name, None)
    if store is not None:
        with store.lock:
            for kind, key in store.records:  # fsspec's recursive removal takes the square of their number
                store.files.store.pop(store.path(kind, key), None)
