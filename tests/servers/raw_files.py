"""A look into a store of local files, and a change to it, that bypass the code under test."""

from __future__ import annotations

import os
from pathlib import Path

from omniq.models.record import Record

from .raw_objects import Objects, RawStore

_FOLDERS = ("log", "checkpoints", "runs", "blobs")


def root_of(url: str) -> Path:
    """The directory of a store with the namespace that is used unless another one is named."""
    return Path(url.partition(":///")[2]) / "omniq"


def objects_of(url: str) -> Objects:
    """Every object that records depend on."""
    root = root_of(url)
    files = (path for folder in _FOLDERS for path in (root / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def raw_store(url: str) -> RawStore:
    """What the files say."""
    return RawStore(objects_of(url))


def put(url: str, record: Record) -> None:
    """Put a record into the store."""
    name, data = raw_store(url).commit_of(record)
    path = root_of(url) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".raw")
    unfinished.write_bytes(data)
    os.link(unfinished, path)
    unfinished.unlink()
