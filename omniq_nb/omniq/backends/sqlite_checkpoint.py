"""Moving a SQLite store's write-ahead log into its file, beside the transactions that go on.

SQLite's own way is that the commit which makes the log long also moves it, and that its callers wait: some 30
milliseconds for 4000 pages. Here a thread with a connection of its own does it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path

import aiosqlite

from ..errors import StoreError
from .sqlite_connection import connect, in_thread_of

logger = logging.getLogger("omniq")

_OPERATIONS = 36_000
_OPERATIONS_OF_A_COMMIT = 50
"""A commit writes some pages whatever it holds, and a ninth of one for each operation: together 4000 pages."""
_LOCK_MILLISECONDS = 20


class LogMover:
    """Counts what is written, and has the log moved when it has become long.

    Args:
        path: The file.
        url: For messages.
        durability: See `SQLiteDriver`.
    """

    def __init__(self, path: Path, url: str, durability: str) -> None:
        self._store = path, url, durability
        self._connection: aiosqlite.Connection | None = None
        self._written = 0
        self._moving: asyncio.Task[None] | None = None

    def grown_by(self, operations: int) -> None:
        """Count a commit of so many operations; of none: there was no commit."""
        if operations:
            self._written += operations + _OPERATIONS_OF_A_COMMIT
        if self._written >= _OPERATIONS and self._moving is None:
            self._written = 0
            self._moving = asyncio.ensure_future(self._move())

    async def _move(self) -> None:
        try:
            if self._connection is None:
                self._connection = await connect(*self._store)
            await in_thread_of(self._connection, _move)
        except (StoreError, sqlite3.Error) as error:
            # Nothing is lost: what is in the log stays there until a later attempt succeeds.
            logger.warning("the log of the store could not be moved into its file, a later attempt will: %s", error)
        finally:
            self._moving = None

    async def finish(self) -> None:
        """Wait until nothing moves."""
        if self._moving is not None:
            await self._moving

    async def close(self) -> None:
        """Wait until nothing moves, and close the connection."""
        await self.finish()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _move(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_LOCK_MILLISECONDS}")
    # Most of it goes beside the writers. As they add to the log meanwhile, and it begins anew only after all of it was
    # moved, the little rest goes under the lock. Where somebody is in the way for long, the next time will do.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
