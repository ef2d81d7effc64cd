"""The SQLite file: its tables, its version, and its errors in OmniQ's words."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import (
    ConfigError,
    FileBusyError,
    FileCorruptError,
    FileUnavailableError,
    StoreError,
    StoreFullError,
    StoreIOError,
    StoreReadOnlyError,
    StoreTooNewError,
    ValueTooLargeError,
)
from .local_url import place_of

APPLICATION_ID = 0x4F4D4E51  # "OMNQ", in the file's header
SCHEMA_VERSION = 1
BUSY_SECONDS = 60.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.005
_PAUSE_SHARE = 0.1
"""A pause is this share of the wait so far: a lock that becomes free is taken soon after, and a long wait is cheap."""

# `ready` divides the claimable records: 1 is due now (found by rank), 0 becomes due later (found by time). A claim
# moves records from the second index to the first as their time comes, so its cost does not grow with the backlog, nor
# with the number of delayed tasks or running leases. `state` and `partition` ride along in the indexes so that a list
# by state reads the index alone.
SCHEMA = f"""
CREATE TABLE records (
    kind TEXT NOT NULL, key TEXT NOT NULL, partition TEXT NOT NULL, state TEXT NOT NULL, rank INTEGER NOT NULL,
    due_at INTEGER, owner TEXT, claims INTEGER NOT NULL, version INTEGER NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL, expires_at INTEGER, body BLOB NOT NULL, ready INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX records_ready ON records (kind, partition, rank, created_at, key, state, ready) WHERE ready = 1;
CREATE INDEX records_later ON records (kind, due_at, state, partition, ready) WHERE ready = 0 AND due_at IS NOT NULL;
CREATE INDEX records_settled ON records (kind, state, key, partition, due_at) WHERE due_at IS NULL AND state <> '';
CREATE INDEX records_expiry ON records (kind, expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE counters (
    kind TEXT NOT NULL, partition TEXT NOT NULL, state TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (kind, partition, state)
) WITHOUT ROWID;
CREATE TABLE events (
    first INTEGER PRIMARY KEY, n INTEGER NOT NULL, min_ts INTEGER NOT NULL, max_ts INTEGER NOT NULL, body BLOB NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

_ERRORS: dict[str, type[StoreError]] = {
    "SQLITE_READONLY": StoreReadOnlyError,
    "SQLITE_FULL": StoreFullError,
    "SQLITE_CORRUPT": FileCorruptError,
    "SQLITE_NOTADB": FileCorruptError,
    "SQLITE_BUSY": FileBusyError,
    "SQLITE_LOCKED": FileBusyError,
    "SQLITE_CANTOPEN": FileUnavailableError,
    "SQLITE_IOERR": StoreIOError,
    "SQLITE_TOOBIG": ValueTooLargeError,
}


def translate(error: sqlite3.Error, url: str) -> StoreError:
    """The error as OmniQ's user meets it. An error's name is its primary code, perhaps with a suffix."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_CANTOPEN") and _is_shut(located(url)[1]):
        name = "SQLITE_READONLY"  # SQLite says no more of a file that it may not create than of one that it can't find
    for code, kind in _ERRORS.items():
        if name == code or name.startswith(f"{code}_"):
            return kind(url, str(error))
    return StoreError(url, f"{name}: {error}" if name else str(error))


def located(url: str) -> tuple[str, Path]:
    """The URL with an absolute path, and that path, which is a file's."""
    parts = urlsplit(url)
    if parts.path == "/:memory:":
        # Each connection would have a database of its own.
        raise ConfigError("a store in memory is `memory://`, not `sqlite:///:memory:`")
    if parts.query:
        raise ConfigError(f"unknown part {parts.query!r} in the store's URL: sqlite:///FILE is all there is")
    return place_of(url)


def _is_shut(path: Path) -> bool:
    """Whether this user may not write the file, or may not create it."""
    return path.parent.is_dir() and not path.is_dir() and not os.access(path if path.exists() else path.parent, os.W_OK)


def prepare(connection: sqlite3.Connection, url: str, durability: str, checkpoint_pages: int = 16_000) -> None:
    """Set a connection up, and create the schema when the file is new.

    Args:
        connection: In autocommit mode.
        url: For messages.
        durability: ``"normal"`` or ``"full"``.
        checkpoint_pages: The commit that makes the log longer than this moves it into the file, where that was not done
            beside it before (see `LogMover`); 0: none of its does.

    Raises:
        StoreError: The file is no store of OmniQ's, or of a newer version.
        sqlite3.Error: Anything that SQLite reports.
    """
    connection.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
    if _is_foreign(connection):
        raise FileCorruptError(url, "it is some other program's SQLite file")
    execute_patiently(connection, "PRAGMA journal_mode = WAL")
    connection.executescript(
        f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'};"
        f"PRAGMA wal_autocheckpoint = {checkpoint_pages};"
        "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768; PRAGMA foreign_keys = OFF;"
    )
    if _version(connection) == 0:
        _create(connection)
    if _version(connection) > SCHEMA_VERSION:
        raise StoreTooNewError(url, f"its schema is version {_version(connection)}, this OmniQ knows {SCHEMA_VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_foreign(connection: sqlite3.Connection) -> bool:
    # In this order: tables and id come in one transaction, perhaps that of another process, between the two looks.
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return False
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID)


def execute_patiently(
    connection: sqlite3.Connection, statement: str, patience: Callable[[], float] = lambda: BUSY_SECONDS
) -> None:
    """Execute a statement that needs a lock which other processes may hold, for a minute at most.

    Args:
        connection: In autocommit mode.
        statement: The statement.
        patience: Gives the seconds to wait; asked again and again.

    SQLite's own busy handler sleeps up to a tenth of a second between tries, in which a store that others write all the
    time passes by many a free moment; and switching to the write-ahead log does not ask it at all.
    """
    began = time.monotonic()
    while True:
        try:
            connection.execute(statement).close()
        except sqlite3.OperationalError as error:
            # With a suffix while another process recovers the log that a killed one left.
            waited = time.monotonic() - began
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or waited > patience():
                raise
        else:
            return
        time.sleep(min(max(waited * _PAUSE_SHARE, _SHORTEST_PAUSE), _LONGEST_PAUSE))


def _create(connection: sqlite3.Connection) -> None:
    execute_patiently(connection, "BEGIN IMMEDIATE")
    try:
        if _version(connection) == 0:  # else another process was faster
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
