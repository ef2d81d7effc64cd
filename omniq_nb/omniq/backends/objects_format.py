"""What an object store's objects are called and what is in them; nothing here does any I/O.

Every object is written once, under a name that nobody else has, and never changed. Its content begins with a mark, the
number of the format and a checksum, so that a damaged object, or somebody else's, is told from a whole one.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from typing import TypeVar

import msgspec

from ..errors import StoreCorruptError, StoreTooNewError
from ..models.event import TaskEvent
from ..models.record import Record

FORMAT = 1
_MARK = b"OMNQ"
_HEAD = len(_MARK) + 1 + 4
_COMMITS_PER_FOLDER = 1000
_TIME_DIGITS = 12

# --- names ---

MARKER = "format"
CHECKPOINTS, LOG, RUNS, EVENTS, BLOBS = "checkpoints/", "log/", "runs/", "events/", "blobs/"
PARQUET = ".parquet"


def commit_name(number: int) -> str:
    """A commit's object. Folders keep directories small where the objects are files."""
    return f"{LOG}{number // _COMMITS_PER_FOLDER:09}/{number:012}"


def checkpoint_name(number: int) -> str:
    """The object of the checkpoint that was taken after this commit."""
    return f"{CHECKPOINTS}{number:012}"


def number_of(name: str) -> int:
    """The number in a commit's or a checkpoint's name."""
    return int(name.rpartition("/")[2])


def unique(now: int) -> str:
    """A part of a name that nobody else makes; begins with the time, in milliseconds."""
    return f"{max(now, 0) // 1000:0{_TIME_DIGITS}x}{secrets.token_hex(6)}"


def made_at(name: str) -> int:
    """When an object with a unique name was made, in microseconds since 1970."""
    return int(name.rpartition("/")[2][:_TIME_DIGITS], 16) * 1000


def run_name(now: int) -> str:
    """The object of some rows of a checkpoint."""
    return f"{RUNS}{unique(now)}"


def segment_name(now: int, *, parquet: bool = False) -> str:
    """The object of some events."""
    return f"{EVENTS}{unique(now)}{PARQUET if parquet else ''}"


def digest_of(body: bytes) -> str:
    """The end of a blob's name: equal for equal bodies."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def blob_name(now: int, digest: str) -> str:
    """The object of a body that is too large for the log."""
    return f"{BLOBS}{unique(now)}-{digest}"


# --- contents ---


class Row(msgspec.Struct, array_like=True, gc=False):
    """A record as the log and the replicas hold it. Never changed once made, so that replicas may share it.

    Attributes:
        blob: The object that holds the body, where that is large; `body` is empty then.
    """

    kind: str
    key: str
    partition: str
    state: str
    rank: int
    due_at: int | None
    owner: str | None
    claims: int
    version: int
    created_at: int
    updated_at: int
    expires_at: int | None
    body: bytes
    blob: str | None = None


class Patch(msgspec.Struct, array_like=True, gc=False):
    """A row whose body stays as it is: a claim, a heartbeat, most settlements."""

    kind: str
    key: str
    partition: str
    state: str
    rank: int
    due_at: int | None
    owner: str | None
    claims: int
    version: int
    created_at: int
    updated_at: int
    expires_at: int | None


class Segment(msgspec.Struct, array_like=True, frozen=True):
    """An object with events: those numbered from ``first`` to before ``end`` that were not trimmed when it was made.

    Attributes:
        min_task: The first of their tasks' ids, which grow with time; empty: they are of no task; ``None``: an earlier
            version of OmniQ has made it, which did not note that.
        max_task: The last of them.
    """

    name: str
    first: int
    end: int
    min_ts: int
    max_ts: int
    min_task: str | None = None
    max_task: str | None = None


class Trim(msgspec.Struct, array_like=True, frozen=True):
    """Events with numbers before ``number`` and ``ts`` before ``before`` are gone, wherever they may still lie."""

    before: int
    number: int


class Run(msgspec.Struct, array_like=True, frozen=True):
    """An object with rows."""

    name: str
    n: int


class Checkpoint(msgspec.Struct, array_like=True, frozen=True):
    """Where the records are as they were after commit ``number``, or a little later.

    Attributes:
        number: The commit; those after it are to be applied on top.
        base: Every record once.
        runs: What changed since then, in order; a later run's rows stand.
        log_start: Commits before this one have been deleted.
    """

    number: int
    base: tuple[Run, ...] = ()
    runs: tuple[Run, ...] = ()
    log_start: int = 1


class Commit(msgspec.Struct, array_like=True):
    """One object of the log: what a group of calls changed, once they were decided. A key occurs in it once.

    Attributes:
        token: Tells its writer that it is his.
        now: His clock.
        rows: New records, and those with a new body.
        patches: Records whose body stays.
        deleted: Kinds and keys.
        events: Appended, in this order.
        segment: Takes the place of segments, or of the youngest events, that it covers.
        trim: See `Trim`.
        checkpoint: Has been taken.
    """

    token: str
    now: int
    rows: list[Row] = []
    patches: list[Patch] = []
    deleted: list[tuple[str, str]] = []
    events: list[TaskEvent] = []
    segment: Segment | None = None
    trim: Trim | None = None
    checkpoint: Checkpoint | None = None


class Manifest(msgspec.Struct, array_like=True):
    """What a checkpoint's object holds: where the records are, and all that is known of the event log."""

    checkpoint: Checkpoint
    segments: list[Segment]
    trims: list[Trim]
    tail_first: int
    tail: list[TaskEvent | None]


class RunBody(msgspec.Struct, array_like=True):
    """What a run's object holds."""

    rows: list[Row]
    deleted: list[tuple[str, str]]


class SegmentBody(msgspec.Struct, array_like=True):
    """What a segment's object holds, unless it is a Parquet file."""

    numbers: list[int]
    events: list[TaskEvent]


_T = TypeVar("_T")

_encode = msgspec.msgpack.Encoder().encode
_decoders = {kind: msgspec.msgpack.Decoder(kind) for kind in (Commit, Manifest, RunBody, SegmentBody)}


def pack(content: msgspec.Struct) -> bytes:
    """An object's bytes.

    Raises:
        OverflowError: A number has more than 64 bits.
        UnicodeEncodeError: A text is no Unicode.
    """
    body = _encode(content)
    return b"".join((_MARK, bytes((FORMAT,)), zlib.crc32(body).to_bytes(4, "big"), body))


def unpack(data: bytes, kind: type[_T], store: str, name: str) -> _T:
    """An object's content.

    Raises:
        StoreTooNewError: A newer version of OmniQ wrote it.
        StoreCorruptError: It is damaged, or none of OmniQ's.
    """
    if data[: len(_MARK)] != _MARK or len(data) < _HEAD:
        raise StoreCorruptError(store, f"the object {name} is none of OmniQ's")
    if data[len(_MARK)] > FORMAT:
        raise StoreTooNewError(store, f"its format is {data[len(_MARK)]}, this OmniQ knows {FORMAT}")
    body = memoryview(data)[_HEAD:]
    if zlib.crc32(body).to_bytes(4, "big") != data[_HEAD - 4 : _HEAD]:
        raise StoreCorruptError(store, f"the object {name} has been changed or cut short")
    try:
        content: _T = _decoders[kind].decode(body)  # type: ignore[assignment, index]  # each kind has its decoder
    except msgspec.MsgspecError as error:
        raise StoreCorruptError(store, f"the object {name} can't be read: {error}") from error
    return content


def record_of(row: Row, body: bytes | None = None) -> Record:
    """The row as callers know it; theirs to change."""
    return Record(
        row.kind, row.key, row.partition, row.state, row.rank, row.due_at, row.owner, row.claims, row.version,
        row.created_at, row.updated_at, row.expires_at, row.body if body is None else body,
    )  # fmt: skip


def patch_of(row: Row) -> Patch:
    """The row without its body."""
    return Patch(
        row.kind, row.key, row.partition, row.state, row.rank, row.due_at, row.owner, row.claims, row.version,
        row.created_at, row.updated_at, row.expires_at,
    )  # fmt: skip


def patched(patch: Patch, row: Row) -> Row:
    """The row as it is after the patch."""
    return Row(
        patch.kind, patch.key, patch.partition, patch.state, patch.rank, patch.due_at, patch.owner, patch.claims,
        patch.version, patch.created_at, patch.updated_at, patch.expires_at, row.body, row.blob,
    )  # fmt: skip
