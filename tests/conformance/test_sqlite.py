"""The conformance suite on the SQLite driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec.structs import astuple
from omniq.backends.sqlite import SQLiteDriver
from omniq.models.record import Record
from omniq.testing import DriverConformance

_COLUMNS = ", ".join(Record.__struct_fields__)


@contextmanager
def _opened(url: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)) as connection, connection:
        yield connection


class TestSQLite(DriverConformance):
    driver_class = SQLiteDriver

    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        with _opened(url) as connection:
            found = connection.execute(f"SELECT {_COLUMNS} FROM records WHERE kind = ? AND key = ?", (kind, key))
            row = found.fetchone()
        return Record(*row) if row else None

    async def write_raw(self, url: str, record: Record) -> None:
        count = "INSERT INTO counters VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"
        with _opened(url) as connection:
            old = connection.execute(
                "DELETE FROM records WHERE kind = ? AND key = ? RETURNING partition, state", (record.kind, record.key)
            )
            for partition, state in old.fetchall():
                connection.execute(count, (record.kind, partition, state, -1))
            marks = ", ".join("?" * len(Record.__struct_fields__))
            connection.execute(f"INSERT INTO records ({_COLUMNS}, ready) VALUES ({marks}, 0)", astuple(record))
            connection.execute(count, (record.kind, record.partition, record.state, 1))

    def unusable_url(self, tmp_path: Path) -> str:
        (tmp_path / "a file").write_text("and no directory")
        return f"sqlite:///{tmp_path / 'a file' / 'store.db'}"
