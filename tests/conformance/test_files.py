"""The conformance suite on the driver of local files."""

from __future__ import annotations

from pathlib import Path

import pytest
from omniq.backends import objects_plan, objects_state, objects_upkeep
from omniq.backends.files import FileDriver, Files
from omniq.models.record import Record
from omniq.testing import DriverConformance

from tests.servers import raw_files


class TestFiles(DriverConformance):
    driver_class = FileDriver

    def url(self, tmp_path: Path) -> str:
        return f"file:///{tmp_path / 'store'}"

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        return raw_files.raw_store(url).record(kind, key)

    async def write_raw(self, url: str, record: Record) -> None:
        raw_files.put(url, record)

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
        monkeypatch.setattr(objects_state, "MARK_SECONDS", 0.0)
        monkeypatch.setattr(Files, "grace", 1.0)
