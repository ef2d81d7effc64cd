"""Connections to a SQLite store: with a thread of their own, or on the caller's."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from ..errors import FileUnavailableError, StoreError, StoreFullError, StoreReadOnlyError
from .sqlite_addition import prepare_additions
from .sqlite_schema import prepare, translate

_T = TypeVar("_T")


_OS_ERRORS: dict[int, type[StoreError]] = {
    errno.EACCES: StoreReadOnlyError,
    errno.EPERM: StoreReadOnlyError,
    errno.EROFS: StoreReadOnlyError,
    errno.ENOSPC: StoreFullError,
    errno.EDQUOT: StoreFullError,
}


def make_directory(path: Path, url: str) -> None:
    """Make the directory that the file is to lie in.

    Raises:
        StoreError: It can't be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = _OS_ERRORS.get(error.errno or 0, FileUnavailableError)
        raise kind(url, f"can't create {path.parent}: {error.strerror}") from error


async def connect(path: Path, url: str, durability: str) -> aiosqlite.Connection:
    """A connection with a thread of its own.

    Raises:
        StoreError: The file can't be opened, or is no store of OmniQ's.
    """
    # The one thread that aiosqlite starts must not keep a process alive whose user forgot to close the app: SQLite
    # loses nothing then. aiosqlite has no public way to say so.
    connection = aiosqlite.connect(path, isolation_level=None, cached_statements=512)
    connection._thread.daemon = True  # noqa: SLF001 -- see above
    connecting = asyncio.ensure_future(connection)
    try:
        # What aiosqlite opens for a caller who is cancelled, it leaves to the garbage collector.
        await asyncio.shield(connecting)
        await in_thread_of(connection, prepare, url, durability)
    except BaseException as error:
        await asyncio.wait([connecting])
        await connection.close()
        # aiosqlite does not wait for its thread when it could not connect; the loop may be closed before it ends.
        connection._thread.join()  # noqa: SLF001 -- see above
        if isinstance(error, sqlite3.Error):
            raise translate(error, url) from error
        raise
    return connection


async def in_thread_of(connection: aiosqlite.Connection, function: Callable[..., _T], *args: Any) -> _T:
    """Call ``function(connection, *args)`` in the connection's thread, with the plain `sqlite3.Connection`."""
    # aiosqlite's public calls run one statement per hop between threads; a transaction has to be one hop in all.
    result: _T = await connection._execute(function, connection._conn, *args)  # type: ignore[no-untyped-call]  # noqa: SLF001 -- see above
    return result


def connect_here(path: Path, url: str, durability: str) -> sqlite3.Connection:
    """A connection for this thread, that waits for no lock and never moves the log, since both take long.

    Raises:
        StoreError: The file can't be opened, or is no store of OmniQ's.
    """
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
    try:
        prepare(connection, url, durability, checkpoint_pages=0)
        wait_in_own_way(connection)
        prepare_additions(connection)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, url) from error
    return connection


def wait_in_own_way(connection: sqlite3.Connection) -> None:
    """Leave the waiting for locks to `execute_patiently`."""
    connection.execute("PRAGMA busy_timeout = 0")
