"""The memory driver's harness: what a backend's author writes, in full, as an example that the tests use themselves."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import ClassVar

from fsspec.implementations.memory import MemoryFileSystem
from msgspec.structs import replace

from ..backends.memory import MemoryDriver
from ..backends.memory_store import forget, store_of
from ..models.record import Record
from ..storage.driver import Driver
from .harness import DriverHarness


class MemoryHarness(DriverHarness):
    """Reaches a memory store past its driver: bodies in fsspec's files, the other columns in the shared index."""

    driver_class: ClassVar[type[Driver]] = MemoryDriver

    def url(self, tmp_path: Path) -> str:
        return f"memory://{uuid.uuid4().hex}"

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        store, files = store_of(_name(url)), MemoryFileSystem()
        record, path = store.records.get((kind, key)), store.path(kind, key)
        assert (record is not None) == files.exists(path), "the index and the files disagree"
        return None if record is None else replace(record, body=files.cat(path))

    async def write_raw(self, url: str, record: Record) -> None:
        store = store_of(_name(url))
        with store.lock:
            if (old := store.records.get((record.kind, record.key))) is not None:
                store.remove(old)
            store.add(replace(record), now=0)

    async def discard(self, url: str) -> None:
        forget(_name(url))


def _name(url: str) -> str:
    return url.removeprefix("memory://")
