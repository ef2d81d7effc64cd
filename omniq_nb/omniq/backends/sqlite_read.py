"""Reading a SQLite store: scans by the cheapest index, counts from the counters.

Everything here runs in the reader's thread, on a plain `sqlite3.Connection`, one statement's snapshot at a time. Every
cursor is exhausted: one that is left open would pin its snapshot and see no later write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..models.record import Filter, Page, Record
from ..storage.driver import Key
from .sqlite_rows import COLUMNS

_COMMON = 0.5
"""A state that this share of all records has is found sooner by walking the keys than by sorting the index."""


def get(connection: sqlite3.Connection, keys: Sequence[Key]) -> list[Record | None]:
    """See `Driver.get`."""
    sql = f"SELECT {COLUMNS} FROM records WHERE kind = ? AND key = ?"
    rows = [connection.execute(sql, each).fetchone() for each in keys]
    return [Record(*row) if row else None for row in rows]


def count(connection: sqlite3.Connection, kind: str) -> dict[tuple[str, str], int]:
    """See `Driver.count`."""
    rows = connection.execute("SELECT partition, state, n FROM counters WHERE kind = ? AND n > 0", (kind,)).fetchall()
    return {(partition, state): n for partition, state, n in rows}


def next_due(connection: sqlite3.Connection, kind: str, now: int) -> int | None:
    """See `Driver.next_due`."""
    sql = (
        "SELECT min(due_at) FROM records INDEXED BY records_later "
        "WHERE kind = ? AND ready = 0 AND due_at IS NOT NULL AND due_at > ?"
    )
    due_at: int | None = connection.execute(sql, (kind, now)).fetchone()[0]
    return due_at


# --- scans ---


def scan(connection: sqlite3.Connection, match: Filter, cursor: str | None, limit: int) -> Page:
    """See `Driver.scan`."""
    if match.expires_before is not None:
        return _scan_expiry(connection, match, match.expires_before, cursor, limit)
    groups = count(connection, match.kind)
    matching = sum(
        n
        for (partition, state), n in groups.items()
        if match.partition in (None, partition) and match.state in (None, state)
    )
    if not matching:
        return Page([], None)
    if match.state and matching < _COMMON * sum(groups.values()):
        return _scan_by_state(connection, match, cursor, limit)
    return _scan_keys(connection, match, cursor, limit)


def _scan_expiry(connection: sqlite3.Connection, match: Filter, before: int, cursor: str | None, limit: int) -> Page:
    where, values = _conditions(match)
    after = ""
    if cursor is not None:
        expires_at, _, key = cursor.partition(" ")
        after, values = " AND (expires_at, key) > (?, ?)", [*values, int(expires_at), key]
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM records INDEXED BY records_expiry WHERE kind = ? AND expires_at IS NOT NULL "
        f"AND expires_at < ?{where}{after} ORDER BY expires_at, key LIMIT ?",
        (match.kind, before, *values, limit),
    ).fetchall()
    records = [Record(*row) for row in rows]
    more = len(records) == limit
    return Page(records, f"{records[-1].expires_at} {records[-1].key}" if more else None)


def _scan_by_state(connection: sqlite3.Connection, match: Filter, cursor: str | None, limit: int) -> Page:
    """A rare state: the three indexes hold it between them, and give the keys without touching the records."""
    where, values = _conditions(match)
    after, bound = _after(match, cursor)
    order = "DESC" if match.newest_first else "ASC"
    sources = (
        ("records_settled", "due_at IS NULL AND state <> ''"),
        ("records_later", "ready = 0 AND due_at IS NOT NULL"),
        ("records_ready", "ready = 1"),
    )
    union = " UNION ALL ".join(
        f"SELECT * FROM (SELECT key FROM records INDEXED BY {index} WHERE kind = ? AND {covered}{where}{after} "
        f"ORDER BY key {order} LIMIT ?)"
        for index, covered in sources
    )
    each = (match.kind, *values, *bound, limit)
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM records WHERE kind = ? AND key IN ({union}) ORDER BY key {order} LIMIT ?",
        (match.kind, *each, *each, *each, limit),
    ).fetchall()
    return _page([Record(*row) for row in rows], limit)


def _scan_keys(connection: sqlite3.Connection, match: Filter, cursor: str | None, limit: int) -> Page:
    """Walk the records in order of their keys, and keep what matches."""
    where, values = _conditions(match)
    after, bound = _after(match, cursor)
    order = "DESC" if match.newest_first else "ASC"
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM records WHERE kind = ?{where}{after} ORDER BY key {order} LIMIT ?",
        (match.kind, *values, *bound, limit),
    ).fetchall()
    return _page([Record(*row) for row in rows], limit)


def _page(records: list[Record], limit: int) -> Page:
    return Page(records, records[-1].key if len(records) == limit else None)


def _conditions(match: Filter) -> tuple[str, list[object]]:
    sql, values = "", []
    for column in ("partition", "state"):
        if (wanted := getattr(match, column)) is not None:
            sql += f" AND {column} = ?"
            values.append(wanted)
    if match.prefix:
        # The least text that is greater than every text with the prefix: U+10FFFF is the last code point.
        sql += " AND key >= ? AND key < ?"
        values += [match.prefix, match.prefix + "\U0010ffff"]
    return sql, values


def _after(match: Filter, cursor: str | None) -> tuple[str, list[str]]:
    if cursor is None:
        return "", []
    return (" AND key < ?" if match.newest_first else " AND key > ?"), [cursor]
