"""What lies in Redis, byte by byte: records, events, and the operations that a script applies.

A record is one string: a header of fixed length with every number, then partition, state, owner and body. The scripts
read the header with the same format (``redis_lua/parts``). Numbers that indexes sort by are stored with 2**63 added, so
that their bytes sort as they do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ..errors import SerializationError
from ..models.event import TaskEvent
from ..models.record import Append, Delete, Extend, Insert, Op, Record, Replace

HEADER = struct.Struct(">BQQqqQQQBHHH")
"""Magic, rank, created_at, version, claims, updated_at, due_at, expires_at, flags, lengths of the three texts."""
MAGIC = 1
DUE, EXPIRES, OWNER = 1, 2, 4
LARGEST = 500_000_000
"""Bytes of a record: Redis takes strings up to 512 MB."""
_ZERO = 1 << 63
_LARGEST_RANK = 1 << 53

_HEAD = struct.Struct(">BBII")
_pack_head = _HEAD.pack
_FENCE = struct.Struct(">Qq")
_MOMENT = struct.Struct(">Q")
_LENGTH = struct.Struct(">I")
_BEGIN, _INSERT, _REPLACE, _EXTEND, _DELETE, _APPEND = range(6)
_NEED_NO_MEMORY = bytes((_BEGIN, _EXTEND, _DELETE))
_ALWAYS, _NEVER = 2**32 - 1, 2**32 - 2
"""In the place of the operation that one comes `after`."""
_BEGIN_BATCH = _pack_head(_BEGIN, 0, _ALWAYS, 0)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[TaskEvent]).decode
_ARRAY = struct.Struct(">BI")
_ARRAY_32 = 0xDD  # MessagePack's mark of an array with a length of four bytes


def moment(micros: int) -> bytes:
    """Eight bytes that sort as the moments do."""
    return _MOMENT.pack(micros + _ZERO)


def read_moment(eight: bytes) -> int:
    """What `moment` packed."""
    packed: int = _MOMENT.unpack(eight)[0]
    return packed - _ZERO


# --- records ---


def pack_record(record: Record, version: int, created_at: int) -> bytes:
    """A record as it is stored, with this version and creation."""
    partition, state = record.partition.encode(), record.state.encode()
    owner = b"" if record.owner is None else record.owner.encode()
    due_at, expires_at = record.due_at, record.expires_at
    flags = (
        (DUE if due_at is not None else 0)
        | (EXPIRES if expires_at is not None else 0)
        | (OWNER if record.owner is not None else 0)
    )
    if not -_LARGEST_RANK < record.rank < _LARGEST_RANK:
        raise OverflowError(f"the rank {record.rank} is beyond 2**53")
    header = HEADER.pack(
        MAGIC, record.rank + _ZERO, created_at + _ZERO, version, record.claims, record.updated_at + _ZERO,
        (due_at or 0) + _ZERO, (expires_at or 0) + _ZERO, flags, len(partition), len(state), len(owner),
    )  # fmt: skip
    return b"".join((header, partition, state, owner, record.body))


def unpack_record(kind: str, key: str, value: bytes) -> Record:
    """A record from what is stored.

    Raises:
        ValueError: It is none of OmniQ's.
    """
    try:
        (
            magic, rank, created_at, version, claims, updated_at, due_at, expires_at, flags, of_partition, of_state,
            of_owner,
        ) = HEADER.unpack_from(value)  # fmt: skip
    except struct.error as error:
        raise ValueError(f"the record {kind} {key!r} is too short") from error
    if magic != MAGIC:
        raise ValueError(f"the record {kind} {key!r} is none of OmniQ's")
    state_at = HEADER.size + of_partition
    owner_at = state_at + of_state
    body_at = owner_at + of_owner
    return Record(
        kind,
        key,
        value[HEADER.size : state_at].decode(),
        value[state_at:owner_at].decode(),
        rank - _ZERO,
        due_at - _ZERO if flags & DUE else None,
        value[owner_at:body_at].decode() if flags & OWNER else None,
        claims,
        version,
        created_at - _ZERO,
        updated_at - _ZERO,
        expires_at - _ZERO if flags & EXPIRES else None,
        value[body_at:],
    )


def unpack_handed(told: bytes) -> tuple[str, str, list[Record]]:
    """The kind, the owner, and the records that he was given, from what ``parts/handing.lua`` tells.

    Raises:
        ValueError: It is none of OmniQ's.
    """
    kind, owner, *found = _texts(told)
    pairs = zip(found[::2], found[1::2], strict=True)
    return kind.decode(), owner.decode(), [unpack_record(kind.decode(), key.decode(), value) for key, value in pairs]


def _texts(told: bytes) -> list[bytes]:
    texts: list[bytes] = []
    at = 0
    while at < len(told):
        (length,) = _LENGTH.unpack_from(told, at)
        at += _LENGTH.size + length
        texts.append(told[at - length : at])
    return texts


# --- operations ---


class Batch(msgspec.Struct, gc=False):
    """One caller's operations, ready to be sent.

    Attributes:
        heads: What each operation is, see ``write.lua``.
        arguments: Its keys and values.
        size: Bytes, roughly.
        operations: How many.
    """

    heads: bytes
    arguments: list[bytes]
    size: int
    operations: int


class Packer:
    """Packs operations. It numbers the kinds that it meets: heads name them by number."""

    def __init__(self) -> None:
        self.kinds: list[bytes] = []
        self._numbers: dict[str, int] = {}
        self._packers: dict[type[Op], Callable[[Any, int, list[bytes]], bytes]] = {
            Append: self._append,
            Insert: self._insert,
            Replace: self._replace,
            Extend: self._extend,
            Delete: self._delete,
        }

    def pack(self, ops: Iterable[Op], earlier: Sequence[bool] = ()) -> Batch:
        """A batch.

        Args:
            ops: The operations, or a part of them.
            earlier: The outcomes of the parts before.

        Raises:
            SerializationError: A value can't be stored.
        """
        heads, arguments, packers = [_BEGIN_BATCH], list[bytes](), self._packers
        try:
            for op in ops:
                after = _ALWAYS if op.after is None else _after(op.after, earlier) if earlier else op.after
                heads.append(packers[type(op)](op, after, arguments))
        except (struct.error, OverflowError, UnicodeEncodeError) as error:
            raise SerializationError(f"Redis can't store a value: {error}") from error
        return Batch(b"".join(heads), arguments, sum(map(len, arguments)), len(heads) - 1)

    def is_addition(self, batch: Batch) -> bool:
        """Whether a batch is no more than one new record and its events: what a task enqueued by itself is."""
        if batch.operations != 2:
            return False
        _, (first, _, first_after, _), (second, _, second_after, _) = _HEAD.iter_unpack(batch.heads)
        return (first, first_after, second, second_after) == (_INSERT, _ALWAYS, _APPEND, 0)

    def kind_of(self, batch: Batch) -> bytes:
        """The kind of the record that a batch begins with."""
        return self.kinds[batch.heads[_HEAD.size + 1]]

    def _append(self, op: Append, after: int, arguments: list[bytes]) -> bytes:
        arguments += [pack_event(event) for event in op.events]
        return _pack_head(_APPEND, 0, after, len(op.events))

    def _insert(self, op: Insert, after: int, arguments: list[bytes]) -> bytes:
        record = op.record
        arguments += (record.key.encode(), pack_record(record, 1, record.created_at))
        return _pack_head(_INSERT, self._number(record.kind), after, 0)

    def _replace(self, op: Replace, after: int, arguments: list[bytes]) -> bytes:
        old = op.previous
        arguments += (old.key.encode(), _fence(old), pack_record(op.record, old.version + 1, old.created_at))
        return _pack_head(_REPLACE, self._number(old.kind), after, 0)

    def _extend(self, op: Extend, after: int, arguments: list[bytes]) -> bytes:
        old = op.previous
        arguments += (old.key.encode(), _fence(old), moment(op.due_at))
        return _pack_head(_EXTEND, self._number(old.kind), after, 0)

    def _delete(self, op: Delete, after: int, arguments: list[bytes]) -> bytes:
        old = op.previous
        arguments += (old.key.encode(), _fence(old))
        return _pack_head(_DELETE, self._number(old.kind), after, 0)

    def _number(self, kind: str) -> int:
        number = self._numbers.get(kind)
        if number is None:
            self.kinds.append(kind.encode())
            number = self._numbers[kind] = len(self.kinds) - 1
        return number


def need_memory(heads: bytes) -> bool:
    """Whether some of these operations make the store larger."""
    return bool(heads[:: _HEAD.size].translate(None, _NEED_NO_MEMORY))


def _fence(record: Record) -> bytes:
    return _FENCE.pack(record.created_at + _ZERO, record.version)


def _after(after: int, earlier: Sequence[bool]) -> int:
    if after >= len(earlier):
        return after - len(earlier)
    return _ALWAYS if earlier[after] else _NEVER


# --- events ---


def pack_event(event: TaskEvent) -> bytes:
    """An event as it is stored: its moment, by which the scripts choose, and MessagePack."""
    return _MOMENT.pack(event.ts + _ZERO) + _encode(event)


def unpack_events(stored: Sequence[bytes]) -> list[TaskEvent]:
    """Events from what is stored.

    Raises:
        ValueError: They are none of OmniQ's.
    """
    try:
        # One array is decoded several times faster than each event alone.
        return _decode(_ARRAY.pack(_ARRAY_32, len(stored)) + b"".join([each[_MOMENT.size :] for each in stored]))
    except msgspec.MsgspecError as error:
        raise ValueError(f"the event log holds what is no event: {error}") from error


def packed_text(text: str) -> bytes:
    """How a text lies in a stored event."""
    return _encode(text)
