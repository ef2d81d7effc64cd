"""The conformance suite on the memory driver."""

from __future__ import annotations

import uuid
from pathlib import Path

from fsspec.implementations.memory import MemoryFileSystem
from msgspec.structs import replace

from omniq.backends.memory import MemoryDriver, forget, store_of
from omniq.models.record import Record
from omniq.testing import DriverConformance


class TestMemory(DriverConformance):
    driver_class = MemoryDriver

    def url(self, tmp_path: Path) -> str:
        return f"memory://{uuid.uuid4().hex}"

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        """The body is read from the file that fsspec's users see, the rest from the shared index."""
        store = store_of(url.removeprefix("memory://"))
        record = store.records.get((kind, key))
        path, files = store.path(kind, key), MemoryFileSystem()
        assert (record is not None) == files.exists(path), "the index and the files disagree"
        return replace(record, body=files.cat(path)) if record is not None else None

    async def write_raw(self, url: str, record: Record) -> None:
        store = store_of(url.removeprefix("memory://"))
        with store.lock:
            if (old := store.records.get((record.kind, record.key))) is not None:
                store.remove(old)
            store.add(replace(record), now=0)

    async def discard(self, url: str) -> None:
        forget(url.removeprefix("memory://"))
