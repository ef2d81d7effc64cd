"""SQLite: one file for tasks, results, events and schedules, used by any number of processes of one machine at once.

Write-ahead log, ``BEGIN IMMEDIATE`` (a deferred transaction that upgrades gets BUSY without being asked to wait), one
writer and one reader thread per process, and one that moves the log into the file when it has become long. Not for
network file systems: their locks don't hold.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Unpack

import aiosqlite

from ..errors import NotOpenError
from ..models.event import TaskEvent
from ..models.record import Columns, EventFilter, Filter, Op, Page, Record
from ..storage.driver import About, Capabilities, Driver, DriverSettings, Key, Position
from ..storage.endings import Turns, each_of
from ..storage.events import BaseEventStorage
from ..storage.queue import BaseTaskQueue
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from ..storage.watch import Watcher, Watchers
from . import sqlite_events as log
from . import sqlite_read as reading
from .doorbell import Doorbell
from .sqlite_connection import connect, in_thread_of, make_directory
from .sqlite_schema import located, translate
from .sqlite_transaction import Claim
from .sqlite_writer import INLINE_RECORDS, SQLiteWriter

_SEGMENTS_PER_TRIM = 500
_FEW_RECORDS = 1000
"""So many records are looked through within a millisecond."""

_T = TypeVar("_T")


class SQLiteDriver(Driver):
    """A SQLite file as a store.

    Args:
        url: ``sqlite:///relative/path.db``, ``sqlite:////absolute/path.db``.
        clock: The machine's, unless a test passes its own.
        durability: ``"normal"`` or ``"full"``, which adds one fsync per transaction.
    """

    scheme: ClassVar[str] = "sqlite"
    about: ClassVar[About] = About(
        title="SQLite",
        url="sqlite:///.omniq/omniq.db",
        start="nothing to start: it is a file",
        choose="one machine: notebooks, and workers beside them",
    )
    capabilities: ClassVar[Capabilities] = Capabilities(atomic_batches=True, pushes=True, shared=True, durable=True)

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        url, self.path = located(url)
        super().__init__(url, **settings)
        self._turns = Turns()
        self._writer: SQLiteWriter | None = None
        self._reader: aiosqlite.Connection | None = None
        self._closing = False
        self._watchers = Watchers(self._start_listening, self._stop_listening)
        self._bell = Doorbell(
            self.path.with_name(self.path.name + "-wake"),
            lambda claimable: self._watchers.notify(claimable=claimable, own=False),
        )

    # --- life cycle ---

    async def open(self) -> None:
        await self._turns.open(self._connect)

    async def _connect(self) -> None:
        if self._writer is not None:
            return
        make_directory(self.path, self.url)
        writer = SQLiteWriter(self.path, self.url, self.durability, self.clock, self._written)
        try:
            await writer.open()
            reader = await connect(self.path, self.url, self.durability)
        except BaseException:
            await writer.close()
            raise
        self._bell.open()
        # Only now: whoever calls meanwhile is told that the store is not open.
        self._writer, self._reader, self._closing = writer, reader, False

    async def close(self) -> None:
        await self._turns.close(self._let_go)

    async def _let_go(self) -> None:
        if self._writer is None:
            return
        self._closing = True
        try:
            await self._writer.finish()
        finally:
            self._bell.close()
            await self._disconnect()

    async def _disconnect(self) -> None:
        reader, writer = self._reader, self._writer
        self._reader = self._writer = None
        await each_of(*(connection.close for connection in (reader, writer) if connection is not None))

    def place(self) -> Path | None:
        return self.path

    def secret_directory(self) -> Path | None:
        directory = self.path.parent
        return directory if directory.name == ".omniq" else directory / ".omniq"

    # --- writes ---

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
        claimed: list[Record] = await self._open_writer().submit(
            Claim(kind, partitions, owner, limit, lease, excluding)
        )
        return claimed

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        return await self._open_writer().write(ops) if ops else []

    def _open_writer(self) -> SQLiteWriter:
        if self._writer is None or self._closing:
            raise NotOpenError(type(self).__name__)
        return self._writer

    def _written(self, claimable: bool) -> None:  # noqa: FBT001 -- a callback
        """Wake this process's watchers, and the other processes'."""
        self._watchers.notify(claimable=claimable, own=True)
        self._bell.ring(claimable=claimable)

    # --- hints ---

    def watch(self, *, claimable: bool = False, others: bool = False) -> Watcher:
        return self._watchers.add(claimable=claimable, others=others)

    def _start_listening(self) -> None:
        self._bell.listen()

    def _stop_listening(self) -> None:
        self._bell.stop_listening()

    # --- reads ---

    async def _read(self, function: Callable[..., _T], *args: Any) -> _T:
        reader = self._reader
        if reader is None or self._closing:
            raise NotOpenError(type(self).__name__)
        try:
            return await in_thread_of(reader, function, *args)
        except sqlite3.Error as error:
            raise translate(error, self.url) from error

    async def _read_briefly(self, function: Callable[..., _T], *args: Any) -> _T:
        """Read what takes some microseconds: on the loop's own thread where that may be."""
        if self._writer is not None and self._writer.here is not None and not self._closing:
            with contextlib.suppress(sqlite3.Error):  # the reader's thread will meet it again and report it
                return function(self._writer.here, *args)
        return await self._read(function, *args)

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        read = self._read_briefly if len(keys) <= INLINE_RECORDS else self._read
        return await read(reading.get, keys)

    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        if limit <= INLINE_RECORDS and sum((await self.count(match.kind)).values()) <= _FEW_RECORDS:
            return await self._read_briefly(reading.scan, match, cursor, limit)
        return await self._read(reading.scan, match, cursor, limit)

    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        return await self._read_briefly(reading.count, kind)

    async def next_due(self, kind: str) -> int | None:
        return await self._read_briefly(reading.next_due, kind, self.clock())

    async def query(self, match: EventFilter) -> Columns:
        return await self._read(log.query, match)

    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        events, number = await self._read(log.log_end, latest)
        return events, str(number)

    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        events, number = await self._read(log.read_log, int(position), limit)
        return events, str(number)

    async def trim_log(self, before: int) -> int:
        trimmed = 0
        try:
            # In steps: one long deletion would hold the write lock against every other process.
            while step := await self._open_writer().run(log.trim, before, _SEGMENTS_PER_TRIM):
                trimmed += step
        except sqlite3.Error as error:
            raise translate(error, self.url) from error
        return trimmed


class AsyncSQLiteQueue(BaseTaskQueue):
    """The task queue in a SQLite file; the store is its path or a ``sqlite://`` URL."""

    driver_class = SQLiteDriver


class AsyncSQLiteResultStorage(BaseResultStorage):
    """The results in a SQLite file; the store is its path or a ``sqlite://`` URL."""

    driver_class = SQLiteDriver


class AsyncSQLiteEventStorage(BaseEventStorage):
    """The events in a SQLite file; the store is its path or a ``sqlite://`` URL."""

    driver_class = SQLiteDriver


class AsyncSQLiteScheduleStorage(BaseScheduleStorage):
    """The schedules in a SQLite file; the store is its path or a ``sqlite://`` URL."""

    driver_class = SQLiteDriver
