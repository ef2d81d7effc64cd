"""The conformance suite on the PostgreSQL driver, against a real server."""

from __future__ import annotations

from pathlib import Path

import asyncpg
from msgspec.structs import astuple
from omniq.backends.postgres import PostgresDriver
from omniq.models.record import Record
from omniq.testing import DriverConformance

from ..servers.postgres import GUARDED, bare, namespace_of, shared_server

_COLUMNS = ", ".join(Record.__struct_fields__)


class TestPostgres(DriverConformance):
    driver_class = PostgresDriver

    def url(self, tmp_path: Path) -> str:
        return shared_server().url()

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        connection = await asyncpg.connect(bare(url))
        try:
            row = await connection.fetchrow(
                f'SELECT {_COLUMNS} FROM "{namespace_of(url)}".records WHERE kind = $1 AND key = $2', kind, key
            )
        finally:
            await connection.close()
        return Record(*row) if row else None

    async def write_raw(self, url: str, record: Record) -> None:
        values = astuple(record)
        marks = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        table = f'"{namespace_of(url)}".records'
        connection = await asyncpg.connect(bare(url))
        try:
            async with connection.transaction():
                await connection.execute(f"DELETE FROM {table} WHERE kind = $1 AND key = $2", record.kind, record.key)
                await connection.execute(f"INSERT INTO {table} ({_COLUMNS}, ready) VALUES ({marks}, false)", *values)
        finally:
            await connection.close()

    def unusable_url(self, tmp_path: Path) -> str:
        return f"postgresql://{GUARDED}:hunter2x@127.0.0.1:{shared_server().port}/omniq"

    async def discard(self, url: str) -> None:
        connection = await asyncpg.connect(bare(url))
        try:
            await connection.execute(f'DROP SCHEMA IF EXISTS "{namespace_of(url)}" CASCADE')
        finally:
            await connection.close()
