"""The conformance suite on the driver of any other file system of fsspec's, of both kinds that fsspec knows."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from omniq import ConfigError
from omniq.backends.fsspec_files import FsspecDriver
from omniq.backends.registry import make_driver
from omniq.errors import StoreTooOldError, StoreUnavailableError

from tests.servers.exclusive_files import ExclusiveDriver, ExclusiveFiles
from tests.servers.s3 import S3Server

from . import test_s3 as s3
from .test_files import TestFiles as _OnFiles

server = s3.server


class TestFsspecInThreads(_OnFiles):
    """One that works in its caller's thread."""

    driver_class = ExclusiveDriver

    def url(self, tmp_path: Path) -> str:
        return f"fsspec+exclusive:///{tmp_path / 'store'}"

    def unusable_url(self, tmp_path: Path) -> str:
        return super().unusable_url(tmp_path).replace("file:", "fsspec+exclusive:")


@pytest.mark.cluster
class TestFsspecOnALoop(s3.TestS3):
    """One that has a loop of its own: s3fs."""

    driver_class = FsspecDriver

    def url(self, tmp_path: Path) -> str:
        return f"fsspec+s3://{S3Server.bucket}/conformance?namespace={uuid4().hex}"

    def unusable_url(self, tmp_path: Path) -> str:
        return "fsspec+s3://there-is-none/store"


async def test_file_system_that_looks_first_and_writes_then_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LocalFileSystem can't create files exclusively"):
        await make_driver(f"fsspec+file://{tmp_path}/store").open()


async def test_file_system_that_ignores_the_mode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe_file(files: ExclusiveFiles, path: str, value: bytes, mode: str = "overwrite") -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(value)

    monkeypatch.setattr(ExclusiveFiles, "pipe_file", pipe_file)
    with pytest.raises(StoreTooOldError, match="ignores the condition"):
        await make_driver(f"fsspec+exclusive://{tmp_path}/store").open()


async def test_file_system_that_fails_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cat_file(files: ExclusiveFiles, path: str) -> bytes:
        raise RuntimeError("whatever\nit raises")

    driver = make_driver(f"fsspec+exclusive://{tmp_path}/store")
    monkeypatch.setattr(ExclusiveFiles, "cat_file", cat_file)
    with pytest.raises(StoreUnavailableError, match="RuntimeError: whatever it raises"):
        await driver.open()


def test_protocol_that_fsspec_does_not_know() -> None:
    with pytest.raises(ConfigError, match="fsspec does not know 'nothing'"):
        make_driver("fsspec+nothing://host/path")
