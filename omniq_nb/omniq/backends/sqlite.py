"""SQLite: one file for tasks, results, events and schedules, used by any number of processes of one machine at once.

Write-ahead log, ``BEGIN IMMEDIATE`` (a deferred transaction that upgrades gets BUSY without being asked to wait), one
writer and one reader thread per process, and one that moves the log into the file when it has become long. Calls that
arrive while a transaction is under way go into the next one together (group commit), claims included. Not for network
file systems: their locks don't hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Unpack

import aiosqlite

from ..errors import NotOpenError
from ..models.event import TaskEvent
from ..models.record import Columns, EventFilter, Filter, Insert, Op, Page, Record, Replace
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
from .sqlite_addition import add
from .sqlite_checkpoint import LogMover
from .sqlite_connection import connect, connect_here, in_thread_of, make_directory, wait_in_own_way
from .sqlite_schema import execute_patiently, located, translate
from .sqlite_write import Claim, Transaction, Work, count_due

logger = logging.getLogger("omniq")

_OPS_PER_TRANSACTION = 10_000
"""Bounds how long other processes wait for the write lock."""
_SEGMENTS_PER_TRIM = 500
_YIELD_SECONDS = 0.001
"""So long a lone caller may go on writing before the loop gets its turn, which takes a tenth of such a write."""
_INLINE_RECORDS = 32
"""What concerns so many records at most is done on the loop's own thread: it takes a fraction of a millisecond."""
_FEW_RECORDS = 1000
"""So many records are looked through within a millisecond."""

_T = TypeVar("_T")


_Request = tuple[Claim | Sequence[Op], "asyncio.Future[Any]"]


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
        self._writer: aiosqlite.Connection | None = None
        self._reader: aiosqlite.Connection | None = None
        self._requests: list[_Request] = []
        self._inline: sqlite3.Connection | None = None
        self._log = LogMover(self.path, url, self.durability)
        self._flush_is_due = False
        self._committing = False
        # Whether requests come one at a time, and whether one was carried out in this turn of the loop already.
        self._come_singly = True
        self._turn_is_taken = False
        self._yields_at = 0.0
        self._idle = asyncio.Event()
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
        try:
            self._writer = await connect(self.path, self.url, self.durability)
            await in_thread_of(self._writer, wait_in_own_way)
            self._reader = await connect(self.path, self.url, self.durability)
            if self.durability != "full":  # a flush to the disk would hold the loop up
                self._inline = connect_here(self.path, self.url, self.durability)
        except BaseException:
            await self._disconnect()
            raise
        self._bell.open()
        self._closing = False
        self._idle = asyncio.Event()  # one that was waited for belongs to that loop
        self._idle.set()

    async def close(self) -> None:
        await self._turns.close(self._let_go)

    async def _let_go(self) -> None:
        if self._writer is None:
            return
        self._closing = True
        try:
            await self._idle.wait()
        finally:
            self._bell.close()
            await self._disconnect()

    async def _disconnect(self) -> None:
        inline, reader, writer = self._inline, self._reader, self._writer
        self._writer = self._reader = self._inline = None
        if inline is not None:
            inline.close()
        await each_of(self._log.close, *(connection.close for connection in (reader, writer) if connection is not None))

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
        claimed: list[Record] = await self._request(Claim(kind, partitions, owner, limit, lease, excluding))
        return claimed

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        if not ops:
            return []
        if self._turn_is_taken:
            self._come_singly = False
        elif self._come_singly and (written := await self._write_at_once(ops)) is not None:
            return written
        outcomes: list[bool] = await self._request(ops)
        return outcomes

    async def _write_at_once(self, ops: Sequence[Op]) -> list[bool] | None:
        """A lone caller's write, which need not wait for others of the same turn; ``None``: it has to wait."""
        self._must_be_open()
        if self._requests or self._committing:
            return None
        outcomes = self._add(ops) or self._commit_inline([ops])
        if outcomes is None:
            return None
        self._written([ops], outcomes)
        if (now := time.monotonic()) > self._yields_at:
            self._yields_at = now + _YIELD_SECONDS
            self._turn_is_taken = True
            try:
                await asyncio.sleep(0)  # whoever writes in a loop lets the others go on
            finally:
                self._turn_is_taken = False
        (outcome,) = outcomes
        return outcome

    def _add(self, ops: Sequence[Op]) -> list[list[bool]] | None:
        """A lone addition on the loop's own thread; ``None``: it is none, or something is in its way."""
        try:
            added = self._inline is not None and add(self._inline, ops, self.clock())
        except sqlite3.Error as error:
            logger.debug("an addition goes the usual way: %s", error)
            return None
        return [[True, True]] if added else None

    def _must_be_open(self) -> None:
        if self._writer is None or self._closing:
            raise NotOpenError(type(self).__name__)

    def _request(self, request: Claim | Sequence[Op]) -> asyncio.Future[Any]:
        self._must_be_open()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._requests.append((request, future))
        self._idle.clear()
        if not self._flush_is_due and not self._committing:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)
        return future

    def _flush(self) -> None:
        """Group commit: whatever arrived in one turn of the loop, or during one transaction, makes up the next."""
        self._flush_is_due = False
        if self._committing or not self._requests:
            return
        batch = self._next_batch()
        self._come_singly = len(batch) == 1
        requests = [request for request, _ in batch]
        try:
            outcomes = self._commit_inline(requests)
        except BaseException:
            # An interrupt, which goes on its way; whoever waits must not do so for ever.
            self._resolve(batch, [asyncio.CancelledError()] * len(batch))
            raise
        if outcomes is not None:
            self._resolve(batch, outcomes)
        else:
            self._committing = True
            commit = asyncio.ensure_future(self._in_writer(self._commit, requests))
            commit.add_done_callback(lambda done: self._committed(batch, done))

    def _committed(self, batch: list[_Request], done: asyncio.Future[list[Any]]) -> None:
        self._committing = False
        self._resolve(batch, done.result() if not done.cancelled() else [asyncio.CancelledError()] * len(batch))
        self._flush()

    def _resolve(self, batch: list[_Request], outcomes: list[Any]) -> None:
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue  # its caller was cancelled
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        if not self._requests:
            self._idle.set()
        self._written([request for request, _ in batch], outcomes)

    def _written(self, requests: Sequence[Claim | Sequence[Op]], outcomes: Sequence[Any]) -> None:
        """Have the log moved when it is long, and wake this process's watchers and the other processes'."""
        self._log.grown_by(sum(len(outcome) for outcome in outcomes if isinstance(outcome, list)))
        batches = [request for request in requests if not isinstance(request, Claim)]
        if batches:
            claimable = any(map(_makes_claimable, batches))
            self._watchers.notify(claimable=claimable, own=True)
            self._bell.ring(claimable=claimable)

    def _commit_inline(self, requests: list[Claim | Sequence[Op]]) -> list[list[Any]] | None:
        """One small transaction on the loop's own thread, where nobody holds the lock; else ``None``.

        Handing it to another thread takes longer than some ten operations do, and costs the loop itself more.
        """
        connection = self._inline
        if connection is None or len(requests) > _INLINE_RECORDS:
            return None
        size, claims = 0, []
        for request in requests:
            if isinstance(request, Claim):
                claims.append(request)
            else:
                size += len(request)
        if size > _INLINE_RECORDS:
            return None
        try:
            for claim in claims:
                size += count_due(connection, claim, self.clock(), _INLINE_RECORDS + 1)
            if size == 0:
                return [[] for _ in requests]  # claims that would find nothing need not take the lock
            if size > _INLINE_RECORDS:
                return None
            # Not patiently: the loop must not wait for others.
            return self._transact(connection, requests, lambda: connection.execute("BEGIN IMMEDIATE"))
        except Exception as error:  # noqa: BLE001 -- the writer's thread will meet it again and report it
            logger.debug("a transaction goes to the writer's thread: %s", error)
            return None

    async def _in_writer(self, function: Callable[..., _T], *args: Any) -> _T:
        if self._writer is None:
            raise NotOpenError(type(self).__name__)
        return await in_thread_of(self._writer, function, *args)

    def _next_batch(self) -> list[_Request]:
        size = end = 0
        while end < len(self._requests) and size < _OPS_PER_TRANSACTION:
            request = self._requests[end][0]
            size += request.limit if isinstance(request, Claim) else len(request)
            end += 1
        batch, self._requests = self._requests[:end], self._requests[end:]
        return batch

    def _commit(self, connection: sqlite3.Connection, requests: list[Claim | Sequence[Op]]) -> list[Any]:
        """One transaction for all requests; runs in the writer's thread. An outcome or an error for each."""
        try:
            return self._transact(connection, requests, lambda: execute_patiently(connection, "BEGIN IMMEDIATE"))
        except Exception as error:  # noqa: BLE001 -- each caller gets it as his own exception
            if len(requests) > 1 and not isinstance(error, sqlite3.OperationalError):
                # One caller's bad value must not fail the others.
                return [outcome for request in requests for outcome in self._commit(connection, [request])]
            if not isinstance(error, sqlite3.Error):
                return [error] * len(requests)
            failure = translate(error, self.url)
            failure.__cause__ = error
            return [failure] * len(requests)

    def _transact(
        self, connection: sqlite3.Connection, requests: list[Claim | Sequence[Op]], begin: Callable[[], object]
    ) -> list[Any]:
        work = Work([request for request in requests if not isinstance(request, Claim)], self.clock())
        begin()
        try:
            transaction = Transaction(connection, self.clock())
            applied = transaction.apply_together(work)
            if applied is None:
                if work.rows is not None:
                    connection.execute("ROLLBACK")
                    begin()
                transaction = Transaction(connection, self.clock())
                applied = transaction.apply_in_order(work)
            written = iter(applied)
            # Claims come last: what the others have just made claimable is there for them.
            outcomes = [
                transaction.claim(request) if isinstance(request, Claim) else next(written) for request in requests
            ]
            transaction.finish()
            connection.execute("COMMIT")
        except BaseException:
            # Also for an interrupt: a transaction that is left open would hold the write lock against everybody.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes

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
        if self._inline is not None and not self._closing:
            with contextlib.suppress(sqlite3.Error):  # the reader's thread will meet it again and report it
                return function(self._inline, *args)
        return await self._read(function, *args)

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        read = self._read_briefly if len(keys) <= _INLINE_RECORDS else self._read
        return await read(reading.get, keys)

    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        if limit <= _INLINE_RECORDS and sum((await self.count(match.kind)).values()) <= _FEW_RECORDS:
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
            while step := await self._in_writer(log.trim, before, _SEGMENTS_PER_TRIM):
                trimmed += step
        except sqlite3.Error as error:
            raise translate(error, self.url) from error
        return trimmed


def _makes_claimable(ops: Sequence[Op]) -> bool:
    # By type, since `isinstance` takes several times longer for these, and nearly always all of them are looked at.
    for op in ops:  # noqa: SIM110 -- any() takes longer for few
        if (type(op) is Replace or type(op) is Insert) and op.record.due_at is not None:
            return True
    return False


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
