"""The most usual transaction of all, one new record and its events, as a single statement.

A statement outside a transaction is one by itself. This one inserts into a view of the connection's own, whose trigger
does what `Transaction` would do in three statements between a BEGIN and a COMMIT.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..models.record import Append, Insert, Op
from . import sqlite_events as log
from .sqlite_rows import INSERT, INSERTED, is_ready
from .sqlite_transaction import COUNT

_COUNTED = ("kind", "partition", "state")
_APPENDED = ("n", "min_ts", "max_ts", "events")
_COLUMNS = (*INSERTED, *_APPENDED)


def _within_trigger(sql: str, *values: str) -> str:
    """A statement as a trigger has it, with values in the places of its parameters."""
    for value in values:
        sql = sql.replace("?", value, 1)
    return sql


def _new(*columns: str) -> list[str]:
    return [f"NEW.{column}" for column in columns]


_PREPARE = f"""
CREATE TEMP VIEW additions ({", ".join(_COLUMNS)}) AS SELECT {", ".join(["NULL"] * len(_COLUMNS))};
CREATE TEMP TRIGGER add_record INSTEAD OF INSERT ON additions BEGIN
    {_within_trigger(INSERT, *_new(*INSERTED))};
    {_within_trigger(log.APPEND, *_new(*_APPENDED))};
    {_within_trigger(COUNT, *_new(*_COUNTED), "1")};
END;
"""
_ADD = f"INSERT INTO additions VALUES ({', '.join('?' * len(_COLUMNS))})"


def prepare_additions(connection: sqlite3.Connection) -> None:
    """Make a connection ready for `add`."""
    connection.executescript(_PREPARE)


def add(connection: sqlite3.Connection, ops: Sequence[Op], now: int, *, most_bytes: int) -> bool:
    """Carry a batch out that is one new record and its events; ``False``: it is something else, nothing was done.

    Args:
        connection: Made ready by `prepare_additions`, outside a transaction.
        ops: The batch.
        now: Decides whether the record is due.
        most_bytes: A larger body is something else.

    Raises:
        sqlite3.IntegrityError: There is such a record; nothing was written.
        sqlite3.OperationalError: Somebody else has the lock, or SQLite's own reasons; nothing was written.
    """
    if len(ops) != 2:
        return False
    insert, append = ops
    if type(insert) is not Insert or type(append) is not Append or append.after != 0:
        return False
    r, segments = insert.record, log.rows_of(append.events)
    if len(segments) != 1 or len(r.body) > most_bytes:
        return False
    connection.execute(
        _ADD,
        (
            r.kind, r.partition, r.state, r.rank, is_ready(r.due_at, now), r.owner, r.claims,
            r.due_at, r.created_at, r.updated_at, r.expires_at, r.key, r.body, *segments[0],
        ),
    )  # fmt: skip
    return True
