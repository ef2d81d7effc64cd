"""The conformance suite on the driver of local files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from omniq.backends import objects_plan, objects_upkeep
from omniq.backends.files import FileDriver, Files
from omniq.models.record import Record
from omniq.testing import DriverConformance

from tests.servers.raw_objects import Objects, RawStore


def _root(url: str) -> Path:
    return Path(url.removeprefix("file:///")) / "omniq"


def _objects(url: str) -> Objects:
    root = _root(url)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in ("log", "checkpoints", "runs", "blobs")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }


class TestFiles(DriverConformance):
    driver_class = FileDriver

    def url(self, tmp_path: Path) -> str:
        return f"file:///{tmp_path / 'store'}"

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        return RawStore(_objects(url)).record(kind, key)

    async def write_raw(self, url: str, record: Record) -> None:
        name, data = RawStore(_objects(url)).commit_of(record)
        path = _root(url) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".raw")
        unfinished.write_bytes(data)
        os.link(unfinished, path)
        unfinished.unlink()

    def unusable_url(self, tmp_path: Path) -> str:
        (tmp_path / "a file").write_text("and no directory")
        return f"file:///{tmp_path / 'a file' / 'store'}"


class TestFilesWithConstantUpkeep(TestFiles):
    """The same with checkpoints, segments, Parquet files, large bodies and deletions all the time."""

    @pytest.fixture(autouse=True)
    def constant_upkeep(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(objects_upkeep, "COMMITS_PER_CHECKPOINT", 3)
        monkeypatch.setattr(objects_upkeep, "EVENTS_PER_SEGMENT", 4)
        monkeypatch.setattr(objects_upkeep, "SEGMENTS_PER_PARQUET", 3)
        monkeypatch.setattr(objects_plan, "INLINE_BYTES", 4)
        monkeypatch.setattr(Files, "grace", 0.0)
