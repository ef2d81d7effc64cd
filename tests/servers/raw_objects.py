"""A look into an object store, and a change to it, that bypass the code under test: plain msgpack and checksums."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec
from omniq.models.record import Record

_FIELDS = len(Record.__struct_fields__)
Objects = Mapping[str, bytes]
"""All objects of a namespace, by name."""


def contents(data: bytes) -> Any:
    """What is in an object."""
    assert data[:5] == b"OMNQ\x01"
    assert zlib.crc32(data[9:]).to_bytes(4, "big") == data[5:9]
    return msgspec.msgpack.decode(data[9:])


def packed(content: Any) -> bytes:
    """An object with this in it."""
    body = msgspec.msgpack.encode(content)
    return b"OMNQ\x01" + zlib.crc32(body).to_bytes(4, "big") + body


def commit_name(number: int) -> str:
    return f"log/{number // 1000:09}/{number:012}"


class RawStore:
    """What the objects say.

    Attributes:
        rows: By kind and key: the record's fields, and the name of the object with its body, if any.
        last: Number of the last commit.
        events: Those in commits that are still there.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.rows: dict[tuple[str, str], list[Any]] = {}
        self.events: list[list[Any]] = []
        self.last = 0
        checkpoints = sorted(name for name in objects if name.startswith("checkpoints/"))
        if checkpoints:
            self.last, base, runs, _ = contents(objects[checkpoints[-1]])[0]
            for name, _ in (*base, *runs):
                self._apply(*contents(objects[name]))
        while (data := objects.get(commit_name(self.last + 1))) is not None:
            self.last += 1
            _, _, rows, patches, deleted, events, *_ = contents(data)
            for patch in patches:
                old = self.rows[patch[0], patch[1]]
                rows.append([*patch, *old[_FIELDS - 1 :]])
            self._apply(rows, deleted)
            self.events += events

    def _apply(self, rows: list[list[Any]], deleted: list[list[str]]) -> None:
        for row in rows:
            self.rows[row[0], row[1]] = row
        for kind, key in deleted:
            self.rows.pop((kind, key), None)

    def record(self, kind: str, key: str) -> Record | None:
        row = self.rows.get((kind, key))
        if row is None:
            return None
        *fields, body, blob = row
        return Record(*fields, body if blob is None else self._objects[blob])

    def commit_of(self, record: Record) -> tuple[str, bytes]:
        """The object, and its name, that puts a record into the store."""
        row = [*(getattr(record, field) for field in Record.__struct_fields__), None]
        commit = [secrets.token_hex(8), record.updated_at, [row], [], [], [], None, None, None]
        return commit_name(self.last + 1), packed(commit)
