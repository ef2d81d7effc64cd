"""Memory: a store inside the process, over fsspec's `MemoryFileSystem`, with an index in front of it.

Records' bodies are files of the memory file system, ``/omniq/NAME/KIND/KEY``, where fsspec's users can see and copy
them; the columns that claims, scans and fences need are in the index. Every driver of one name, on whatever loop or
thread, shares one store; the process's end is its end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Unpack
from urllib.parse import urlsplit

from ..errors import NotOpenError
from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import (
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
from .memory_store import Store, store_of

_SCAN_STEP = 50_000
"""Records that one scan looks at, so that it never holds the other threads up for long."""


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
        self._open_store: Store | None = None
        self.watchers = Watchers()

    async def open(self) -> None:
        self._open_store = store_of(self._name)
        with self._open_store.lock:
            self._open_store.watchers.add(self.watchers)

    async def close(self) -> None:
        if self._open_store is not None:
            with self._open_store.lock:
                self._open_store.watchers.discard(self.watchers)
            self._open_store = None

    @property
    def _store(self) -> Store:
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
            names = store.ready[kind] if partitions is None else dict.fromkeys(partitions)
            served = [name for name in names if name not in excluding]
            for record in store.take(kind, served, ordered=partitions is not None, limit=limit, now=now):
                store.lease(record, owner, now + lease, now)
                claimed.append(_copy(record))
        return claimed

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        store, now = self._store, self.clock()
        outcomes: list[bool] = []
        with store.lock:
            store.claimable = False
            for op in ops:
                outcomes.append((op.after is None or outcomes[op.after]) and _APPLY[type(op)](store, op, now))
            claimable, watchers = store.claimable, tuple(store.watchers)
        for each in watchers:
            each.notify(claimable=claimable, own=each is self.watchers)
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
            later = store.later[kind]
            while (entry := later.first()) is not None:
                due_at, key, version = entry
                record = store.records.get((kind, key))
                if record is not None and record.version == version and record.due_at == due_at:
                    return due_at
                later.drop_first()
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


def _insert(store: Store, op: Insert, now: int) -> bool:
    if (op.record.kind, op.record.key) in store.records:
        return False
    new = _copy(op.record)
    new.version = 1
    store.add(new, now)
    return True


def _replace(store: Store, op: Replace, now: int) -> bool:
    if (old := _current(store, op.previous)) is None:
        return False
    new = _copy(op.record)
    new.version, new.created_at = old.version + 1, old.created_at
    store.put(new, old, now)
    return True


def _extend(store: Store, op: Extend, now: int) -> bool:
    if (old := _current(store, op.previous)) is None:
        return False
    old.due_at = op.due_at
    store.enlist(old, now)
    return True


def _delete(store: Store, op: Delete, now: int) -> bool:  # noqa: ARG001 -- one signature for all
    if (old := _current(store, op.previous)) is None:
        return False
    store.remove(old)
    return True


def _append(store: Store, op: Append, now: int) -> bool:  # noqa: ARG001 -- one signature for all
    for event in op.events:
        store.position += 1
        store.events.append(event)
        store.positions.append(store.position)
    return True


# A `match` over the classes would ask each operation for one after the other.
_APPLY: dict[type[Op], Callable[[Store, Any, int], bool]] = {
    Insert: _insert,
    Replace: _replace,
    Extend: _extend,
    Delete: _delete,
    Append: _append,
}


def _current(store: Store, previous: Record) -> Record | None:
    record = store.records.get((previous.kind, previous.key))
    if record is None or record.version != previous.version or record.created_at != previous.created_at:
        return None
    return record


def _scan_keys(store: Store, match: Filter, cursor: str | None, limit: int) -> Page:
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


def _scan_expiry(store: Store, match: Filter, before: int, cursor: str | None, limit: int) -> Page:
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
