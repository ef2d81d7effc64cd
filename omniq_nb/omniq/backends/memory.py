"""Memory: a store inside the process, over fsspec's `MemoryFileSystem`, with an index in front of it.

Records' bodies are files of the memory file system, ``/omniq/NAME/KIND/KEY``, where fsspec's users can see and copy
them; the columns that claims, scans and fences need are in the index. Every driver of one name, on whatever loop or
thread, shares one store; the process's end is its end.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator, Sequence
from heapq import heappop, heappush
from typing import ClassVar, Unpack
from urllib.parse import quote, urlsplit

from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from ..errors import NotOpenError
from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import (
    RUNNING,
    Append,
    Columns,
    Delete,
    EventFilter,
    Extend,
    Filter,
    Insert,
    Op,
    Page,
    Record,
    Replace,
)
from ..storage.driver import About, Capabilities, Driver, DriverSettings, Key, Position
from ..storage.events import BaseEventStorage, matches
from ..storage.queue import BaseTaskQueue
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from ..storage.watch import Watcher, Watchers

_SCAN_STEP = 50_000
"""Records that one scan looks at, so that it never holds the other threads up for long."""

_WRITES = (Insert, Replace)

_is_safe = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch

_Group = tuple[str, str, str]


class _Store:
    """The shared state of one name. Its methods expect the lock to be held."""

    def __init__(self, name: str) -> None:
        self.lock = threading.Lock()
        self.root = f"/omniq/{quote(name, safe='')}" if name else "/omniq"
        self.files = MemoryFileSystem()
        self.records: dict[Key, Record] = {}
        self.keys: dict[str, list[str]] = {}
        self.counts: dict[_Group, int] = {}
        # Heaps with entries that may be out of date: an entry counts only while the record has its version.
        self.ready: dict[str, dict[str, list[tuple[int, int, str, int]]]] = {}
        self.later: dict[str, list[tuple[int, str, int]]] = {}
        self.events: list[TaskEvent] = []
        self.positions: list[int] = []  # of the events; trimming leaves gaps
        self.position = 0
        self.drivers: set[MemoryDriver] = set()

    # --- bodies ---

    def path(self, kind: str, key: str) -> str:
        # Nearly all keys are safe as they are, and asking is cheaper than quoting.
        return f"{self.root}/{kind}/{key if _is_safe(key) else quote(key, safe='')}"

    def write_body(self, record: Record) -> None:
        path = self.path(record.kind, record.key)
        # What pipe_file does after checking the path that was just built, at a third of its time.
        self.files.store[path] = MemoryFile(self.files, path, record.body)

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
        self.enlist(record, now)

    def put(self, record: Record, previous: Record, now: int) -> None:
        self.records[previous.kind, previous.key] = record
        if record.body is not previous.body:
            self.write_body(record)
        if record.state != previous.state or record.partition != previous.partition:
            self.tally(previous, -1)
            self.tally(record, 1)
        self.enlist(record, now)

    def remove(self, record: Record) -> None:
        del self.records[record.kind, record.key]
        keys = self.keys[record.kind]
        del keys[bisect_left(keys, record.key)]
        self.files.store.pop(self.path(record.kind, record.key), None)
        self.tally(record, -1)

    def tally(self, record: Record, n: int) -> None:
        group = (record.kind, record.partition, record.state)
        self.counts[group] = self.counts.get(group, 0) + n

    def enlist(self, record: Record, now: int) -> None:
        """Put the record where claims look for it."""
        if record.due_at is None:
            return
        if record.due_at > now:
            heappush(self.later.setdefault(record.kind, []), (record.due_at, record.key, record.version))
            return
        partitions = self.ready.setdefault(record.kind, {})
        heap = partitions.setdefault(record.partition, [])
        heappush(heap, (record.rank, record.created_at, record.key, record.version))

    # --- claims ---

    def promote(self, kind: str, now: int) -> None:
        """Enlist anew what was due later and is due now."""
        later = self.later.get(kind)
        while later and later[0][0] <= now:
            _, key, version = heappop(later)
            record = self.records.get((kind, key))
            if record is not None and record.version == version:
                self.enlist(record, now)  # where its lease was extended: among the later ones again

    def first(self, kind: str, partition: str, now: int) -> tuple[int, int, str] | None:
        """The order of the partition's first due record; entries that are out of date are dropped on the way."""
        heap = self.ready.get(kind, {}).get(partition)
        while heap:
            rank, created_at, key, version = heap[0]
            record = self.records.get((kind, key))
            # Deleted and inserted anew, a record has the same version at another place.
            place = (rank, created_at, version, partition)
            if record is not None and place == (record.rank, record.created_at, record.version, record.partition):
                if record.due_at is not None and record.due_at <= now:
                    return rank, created_at, key
                self.enlist(record, now)
            heappop(heap)
        return None

    def take(self, kind: str, partitions: Sequence[str], *, ordered: bool, limit: int, now: int) -> Iterator[Record]:
        """The next records in order; the caller claims each before he asks for another."""
        for _ in range(limit):
            best: tuple[int, int, int, str] | None = None
            chosen = ""
            for position, partition in enumerate(partitions):
                first = self.first(kind, partition, now)
                if first is None:
                    continue
                rank, created_at, key = first
                order = (rank, position if ordered else 0, created_at, key)
                if best is None or order < best:
                    best, chosen = order, partition
            if best is None:
                return
            heappop(self.ready[kind][chosen])
            yield self.records[kind, best[3]]


_stores: dict[str, _Store] = {}
_stores_lock = threading.Lock()


def store_of(name: str) -> _Store:
    """The process's store of this name; made when first asked for."""
    with _stores_lock:
        if name not in _stores:
            _stores[name] = _Store(name)
        return _stores[name]


def forget(name: str) -> None:
    """Drop the store of this name with all that is in it."""
    with _stores_lock:
        store = _stores.pop(name, None)
    if store is not None:
        with store.lock:
            for kind, key in store.records:  # fsspec's recursive removal takes the square of their number
                store.files.store.pop(store.path(kind, key), None)


class MemoryDriver(Driver):
    """A store in this process's memory.

    Args:
        url: ``memory://NAME``; drivers of one name share a store.
        clock: The machine's, unless a test passes its own.
        durability: Without effect: nothing outlives the process.
    """

    scheme: ClassVar[str] = "memory"
    about: ClassVar[About] = About(
        title="Memory",
        url="memory://",
        start="nothing to start: it lives in the process",
        choose="tests, and work that need not outlive the kernel",
    )
    capabilities: ClassVar[Capabilities] = Capabilities(atomic_batches=True, pushes=True, shared=False, durable=False)

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        super().__init__(url, **settings)
        parts = urlsplit(url)
        self._name = (parts.netloc + parts.path).strip("/")
        self._open_store: _Store | None = None
        self.watchers = Watchers()

    async def open(self) -> None:
        self._open_store = store_of(self._name)
        with self._open_store.lock:
            self._open_store.drivers.add(self)

    async def close(self) -> None:
        if self._open_store is not None:
            with self._open_store.lock:
                self._open_store.drivers.discard(self)
            self._open_store = None

    @property
    def _store(self) -> _Store:
        if self._open_store is None:
            raise NotOpenError(type(self).__name__)
        return self._open_store

    # --- records ---

    async def claim(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        lease: int,
        *,
        excluding: Collection[str] = (),
    ) -> list[Record]:
        store, now, claimed = self._store, self.clock(), []
        with store.lock:
            store.promote(kind, now)
            names = store.ready.get(kind, {}) if partitions is None else dict.fromkeys(partitions)
            served = [name for name in names if name not in excluding]
            for old in store.take(kind, served, ordered=partitions is not None, limit=limit, now=now):
                record = Record(
                    old.kind, old.key, old.partition, RUNNING, old.rank, now + lease, owner, old.claims + 1,
                    old.version + 1, old.created_at, now, old.expires_at, old.body,
                )  # fmt: skip
                store.put(record, old, now)
                claimed.append(_copy(record))
        return claimed

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        store, now = self._store, self.clock()
        outcomes: list[bool] = []
        with store.lock:
            for op in ops:
                outcomes.append((op.after is None or outcomes[op.after]) and _apply(store, op, now))
            drivers = tuple(store.drivers)
        claimable = any(op.record.due_at is not None for op in ops if isinstance(op, _WRITES))
        for driver in drivers:
            driver.watchers.notify(claimable=claimable, own=driver is self)
        return outcomes

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        store = self._store
        with store.lock:
            found = [store.records.get(key) for key in keys]
            return [_copy(record) if record is not None else None for record in found]

    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        store = self._store
        with store.lock:
            if match.expires_before is not None:
                return _scan_expiry(store, match, match.expires_before, cursor, limit)
            return _scan_keys(store, match, cursor, limit)

    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        store = self._store
        with store.lock:
            return {(part, state): n for (each, part, state), n in store.counts.items() if each == kind and n}

    async def next_due(self, kind: str) -> int | None:
        store, now = self._store, self.clock()
        with store.lock:
            store.promote(kind, now)
            later = store.later.get(kind, [])
            while later:
                due_at, key, version = later[0]
                record = store.records.get((kind, key))
                if record is not None and record.version == version and record.due_at == due_at:
                    return due_at
                heappop(later)
                if record is not None and record.version == version:
                    store.enlist(record, now)  # extended since
        return None

    # --- events ---

    async def query(self, match: EventFilter) -> Columns:
        store = self._store
        with store.lock:
            events = [event for event in store.events if matches(event, match)]
        events.sort(key=lambda event: event.ts)
        if match.limit is not None:
            events = events[-match.limit :] if match.limit else []
        return {field: [getattr(event, field) for event in events] for field in EVENT_FIELDS}

    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        store = self._store
        with store.lock:
            return store.events[-latest:] if latest else [], str(store.position)

    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        store = self._store
        with store.lock:
            start = bisect_right(store.positions, int(position))
            events = store.events[start : start + limit]
            return events, str(store.positions[start + len(events) - 1]) if events else position

    async def trim_log(self, before: int) -> int:
        store = self._store
        with store.lock:
            kept = [index for index, event in enumerate(store.events) if event.ts >= before]
            trimmed = len(store.events) - len(kept)
            store.events = [store.events[index] for index in kept]
            store.positions = [store.positions[index] for index in kept]
        return trimmed

    def watch(self, *, claimable: bool = False, others: bool = False) -> Watcher:
        return self.watchers.add(claimable=claimable, others=others)


def _copy(record: Record) -> Record:
    """What is handed out is the caller's own: changing it must not change the store."""
    return record.__copy__()  # type: ignore[attr-defined, no-any-return]  # a Struct's, which its stub leaves out


def _apply(store: _Store, op: Op, now: int) -> bool:
    match op:
        case Insert(record):
            if (record.kind, record.key) in store.records:
                return False
            new = _copy(record)
            new.version = 1
            store.add(new, now)
        case Replace(record, previous):
            old = _current(store, previous)
            if old is None:
                return False
            new = _copy(record)
            new.version, new.created_at = old.version + 1, old.created_at
            store.put(new, old, now)
        case Extend(previous, due_at):
            old = _current(store, previous)
            if old is None:
                return False
            old.due_at = due_at
            store.enlist(old, now)
        case Delete(previous):
            old = _current(store, previous)
            if old is None:
                return False
            store.remove(old)
        case Append(events):
            store.events.extend(events)
            first, store.position = store.position + 1, store.position + len(events)
            store.positions.extend(range(first, store.position + 1))
    return True


def _current(store: _Store, previous: Record) -> Record | None:
    record = store.records.get((previous.kind, previous.key))
    if record is None or record.version != previous.version or record.created_at != previous.created_at:
        return None
    return record


def _scan_keys(store: _Store, match: Filter, cursor: str | None, limit: int) -> Page:
    keys = store.keys.get(match.kind, [])
    low = bisect_left(keys, match.prefix)
    high = bisect_left(keys, match.prefix + "\U0010ffff") if match.prefix else len(keys)
    if cursor is not None and match.newest_first:
        high = min(high, bisect_left(keys, cursor))
    elif cursor is not None:
        low = max(low, bisect_right(keys, cursor))
    positions = range(high - 1, low - 1, -1) if match.newest_first else range(low, high)
    found: list[Record] = []
    for position in positions[:_SCAN_STEP]:
        record = store.records[match.kind, keys[position]]
        if match.partition in (None, record.partition) and match.state in (None, record.state):
            found.append(_copy(record))
            if len(found) == limit:
                return Page(found, record.key)
    more = len(positions) > _SCAN_STEP
    return Page(found, keys[positions[_SCAN_STEP - 1]] if more else None)


def _scan_expiry(store: _Store, match: Filter, before: int, cursor: str | None, limit: int) -> Page:
    after = (int(cursor.partition(" ")[0]), cursor.partition(" ")[2]) if cursor is not None else (-1, "")
    found = sorted(
        (record.expires_at, record.key)
        for (kind, key), record in store.records.items()
        if kind == match.kind
        and record.expires_at is not None
        and record.expires_at < before
        and match.partition in (None, record.partition)
        and match.state in (None, record.state)
        and key.startswith(match.prefix)
        and (record.expires_at, key) > after
    )[:limit]
    records = [_copy(store.records[match.kind, key]) for _, key in found]
    return Page(records, f"{found[-1][0]} {found[-1][1]}" if len(found) == limit else None)


class AsyncMemoryQueue(BaseTaskQueue):
    """The task queue in this process's memory; the store is a name or a ``memory://`` URL."""

    driver_class = MemoryDriver


class AsyncMemoryResultStorage(BaseResultStorage):
    """The results in this process's memory; the store is a name or a ``memory://`` URL."""

    driver_class = MemoryDriver


class AsyncMemoryEventStorage(BaseEventStorage):
    """The events in this process's memory; the store is a name or a ``memory://`` URL."""

    driver_class = MemoryDriver


class AsyncMemoryScheduleStorage(BaseScheduleStorage):
    """The schedules in this process's memory; the store is a name or a ``memory://`` URL."""

    driver_class = MemoryDriver
