"""A file system of fsspec's that creates exclusively: local files, by hard links."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import register_implementation
from omniq.backends.fsspec_files import FsspecDriver


class ExclusiveFiles(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """``exclusive:///path``."""

    protocol = "exclusive"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol("/" + path.removeprefix("exclusive:").lstrip("/"))
        return stripped

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        assert mode == "create"
        name = Path(self._strip_protocol(path))
        name.parent.mkdir(parents=True, exist_ok=True)
        unfinished = name.with_name(f".{secrets.token_hex(8)}")
        unfinished.write_bytes(value)
        try:
            os.link(unfinished, name)
        finally:
            unfinished.unlink()

    def find(self, path: str, **_: Any) -> list[str]:
        return [name for name in super().find(path) if "/." not in name]


class ExclusiveDriver(FsspecDriver):
    """By its module, other processes know the file system too."""


register_implementation("exclusive", ExclusiveFiles, clobber=True)
