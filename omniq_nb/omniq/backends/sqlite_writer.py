"""Writing to a SQLite file: in transactions of whatever its process asks for together.

Calls that arrive while a transaction is under way go into the next one together (group commit), claims included. A
small transaction is done on the loop's own thread, a larger one on the writer's.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from ..clock import Clock
from ..models.record import Insert, Op, Replace
from ..storage.endings import each_of
from .sqlite_addition import add
from .sqlite_checkpoint import LogMover
from .sqlite_connection import connect, connect_here, in_thread_of, wait_in_own_way
from .sqlite_schema import BUSY_SECONDS, execute_patiently, translate
from .sqlite_transaction import Claim, Transaction, Work, count_due

logger = logging.getLogger("omniq")

INLINE_RECORDS = 32
"""So many records at most are read on the loop's own thread, and claimed there, whatever they hold."""
_INLINE_OPERATIONS, _INLINE_BYTES = 256, 500_000
"""So much is written there: it takes a millisecond, and to hand it to another thread takes a fifth of one."""
_OPS_PER_TRANSACTION = 10_000
"""Bounds how long other processes wait for the write lock."""
_YIELD_SECONDS = 0.001
"""So long a lone caller may go on writing before the loop gets its turn, which takes a tenth of such a write."""
_LAST_SECONDS = 5.0
"""So long a lock that others hold is waited for once the store is being closed."""

_T = TypeVar("_T")

Request = Claim | Sequence[Op]
_Waiting = tuple[Request, "asyncio.Future[Any]"]


class SQLiteWriter:
    """The writes and claims of one process; of an event loop at a time.

    Args:
        path: The file.
        url: For messages.
        durability: See `SQLiteDriver`.
        clock: The store's.
        on_written: Called when something was written, with whether it may be claimable.

    Attributes:
        here: A connection for the loop's own thread, where there is one.
    """

    def __init__(self, path: Path, url: str, durability: str, clock: Clock, on_written: Callable[[bool], None]) -> None:
        self._store = path, url, durability
        self._url, self._durability = url, durability
        self._clock = clock
        self._on_written = on_written
        self._connection: aiosqlite.Connection | None = None
        self.here: sqlite3.Connection | None = None
        self._log = LogMover(*self._store)
        self._requests: list[_Waiting] = []
        self._flush_is_due = False
        self._committing = False
        # Whether requests come one at a time, and whether one was carried out in this turn of the loop already.
        self._come_singly = True
        self._turn_is_taken = False
        self._yields_at = 0.0
        self._idle = asyncio.Event()
        self._patience = BUSY_SECONDS

    async def open(self) -> None:
        """Connect; on an error, `close` it.

        Raises:
            StoreError: The file can't be opened, or is no store of OmniQ's.
        """
        self._connection = await connect(*self._store)
        await in_thread_of(self._connection, wait_in_own_way)
        if self._durability != "full":  # a flush to the disk would hold the loop up
            self.here = connect_here(*self._store)
        self._idle = asyncio.Event()  # one that was waited for belongs to that loop
        self._idle.set()

    async def finish(self) -> None:
        """Wait until everything that was asked for is done; for a lock that others hold, some seconds at most."""
        self._patience = _LAST_SECONDS
        await self._idle.wait()

    async def close(self) -> None:
        """Disconnect."""
        here, connection = self.here, self._connection
        self.here = self._connection = None
        if here is not None:
            here.close()
        await each_of(self._log.close, *([connection.close] if connection is not None else []))

    async def run(self, function: Callable[..., _T], *args: Any) -> _T:
        """Call ``function(connection, *args)`` in the writer's thread."""
        assert self._connection is not None
        return await in_thread_of(self._connection, function, *args)

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        """See `Driver.write`."""
        if self._turn_is_taken:
            self._come_singly = False
        elif self._come_singly and (written := await self._write_at_once(ops)) is not None:
            return written
        outcomes: list[bool] = await self.submit(ops)
        return outcomes

    async def _write_at_once(self, ops: Sequence[Op]) -> list[bool] | None:
        """A lone caller's write, which need not wait for others of the same turn; ``None``: it has to wait."""
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
            added = self.here is not None and add(self.here, ops, self._clock(), most_bytes=_INLINE_BYTES)
        except sqlite3.Error as error:
            logger.debug("an addition goes the usual way: %s", error)
            return None
        return [[True, True]] if added else None

    def submit(self, request: Request) -> asyncio.Future[Any]:
        """The outcome of a request, when it is there."""
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
            commit = asyncio.ensure_future(self.run(self._commit, requests))
            commit.add_done_callback(lambda done: self._committed(batch, done))

    def _committed(self, batch: list[_Waiting], done: asyncio.Future[list[Any]]) -> None:
        self._committing = False
        failure = asyncio.CancelledError() if done.cancelled() else done.exception()
        self._resolve(batch, done.result() if failure is None else [failure] * len(batch))
        self._flush()

    def _resolve(self, batch: list[_Waiting], outcomes: list[Any]) -> None:
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

    def _written(self, requests: Sequence[Request], outcomes: Sequence[Any]) -> None:
        """Have the log moved when it is long, and tell what was written."""
        self._log.grown_by(sum(len(outcome) for outcome in outcomes if isinstance(outcome, list)))
        batches = [request for request in requests if not isinstance(request, Claim)]
        if batches:
            self._on_written(any(map(_makes_claimable, batches)))

    def _commit_inline(self, requests: list[Request]) -> list[list[Any]] | None:
        """One small transaction on the loop's own thread, where nobody holds the lock; else ``None``.

        Handing it to another thread takes longer than some ten operations do, and costs the loop itself more.
        """
        connection = self.here
        if connection is None or len(requests) > _INLINE_OPERATIONS:
            return None
        size, claims = 0, []
        for request in requests:
            if isinstance(request, Claim):
                claims.append(request)
            else:
                size += len(request)
        most = INLINE_RECORDS if claims else _INLINE_OPERATIONS
        if size > most or _bytes_in(requests) > _INLINE_BYTES:
            return None
        try:
            for claim in claims:
                size += count_due(connection, claim, self._clock(), most + 1)
            if size == 0:
                return [[] for _ in requests]  # claims that would find nothing need not take the lock
            if size > most:
                return None
            # Not patiently: the loop must not wait for others.
            return self._transact(connection, requests, lambda: connection.execute("BEGIN IMMEDIATE"))
        except Exception as error:  # noqa: BLE001 -- the writer's thread will meet it again and report it
            logger.debug("a transaction goes to the writer's thread: %s", error)
            return None

    def _next_batch(self) -> list[_Waiting]:
        size = end = 0
        while end < len(self._requests) and size < _OPS_PER_TRANSACTION:
            request = self._requests[end][0]
            size += request.limit if isinstance(request, Claim) else len(request)
            end += 1
        batch, self._requests = self._requests[:end], self._requests[end:]
        return batch

    def _commit(self, connection: sqlite3.Connection, requests: list[Request]) -> list[Any]:
        """One transaction for all requests; runs in the writer's thread. An outcome or an error for each."""

        def begin() -> None:
            execute_patiently(connection, "BEGIN IMMEDIATE", lambda: self._patience)

        try:
            return self._transact(connection, requests, begin)
        except Exception as error:  # noqa: BLE001 -- each caller gets it as his own exception
            if len(requests) > 1 and not isinstance(error, sqlite3.OperationalError):
                # One caller's bad value must not fail the others.
                return [outcome for request in requests for outcome in self._commit(connection, [request])]
            if not isinstance(error, sqlite3.Error):
                return [error] * len(requests)
            failure = translate(error, self._url)
            failure.__cause__ = error
            return [failure] * len(requests)

    def _transact(
        self, connection: sqlite3.Connection, requests: list[Request], begin: Callable[[], object]
    ) -> list[Any]:
        work = Work([request for request in requests if not isinstance(request, Claim)], self._clock())
        begin()
        try:
            transaction = Transaction(connection, self._clock())
            applied = transaction.apply_together(work)
            if applied is None:
                if work.rows is not None:
                    connection.execute("ROLLBACK")
                    begin()
                transaction = Transaction(connection, self._clock())
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


def _bytes_in(requests: Sequence[Request]) -> int:
    size = 0
    for request in requests:
        if not isinstance(request, Claim):
            for op in request:
                if type(op) is Insert or type(op) is Replace:  # as in `_makes_claimable`
                    size += len(op.record.body)
    return size


def _makes_claimable(ops: Sequence[Op]) -> bool:
    # By type, since `isinstance` takes several times longer for these, and nearly always all of them are looked at.
    for op in ops:  # noqa: SIM110 -- any() takes longer for few
        if (type(op) is Replace or type(op) is Insert) and op.record.due_at is not None:
            return True
    return False
