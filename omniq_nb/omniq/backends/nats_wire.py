"""What a transaction looks like in the log: operations as compact arrays, a transaction as one or more messages.

The format is for ever: every process that reads a log must come to the same state. New operations get new tags, new
fields go to the end with a default, and a change that old processes would misread needs a new `SCHEMA`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ..models.event import TaskEvent
from ..models.record import Append, Delete, Extend, Insert, Op, Record, Replace

SCHEMA = 2
"""Version of the format; in the stream's metadata."""

_HEAD = struct.Struct(">4s16sIHH")
_MAGIC = b"OMQ1"
_PART_SECONDS = 60


class Row(Record, array_like=True, gc=False):
    """A record as the log and the replicas have it; nobody changes one in place.

    Attributes:
        blob: Names the message that holds the body, where that is large; see `omniq.backends.nats_blobs`.
    """

    blob: str | None = None


class Put(msgspec.Struct, array_like=True, tag="p", gc=False):
    """Add a record, unless its key exists."""

    row: Row
    after: int | None = None


class Swap(msgspec.Struct, array_like=True, tag="r", gc=False):
    """Put a record in the place of its previous version, ``row.version - 1``.

    Attributes:
        same_body: The row comes without its body, which stays as it is.
    """

    row: Row
    same_body: bool = False
    after: int | None = None


class Move(msgspec.Struct, array_like=True, tag="e", gc=False):
    """Change ``due_at``."""

    kind: str
    key: str
    version: int
    created_at: int
    due_at: int
    after: int | None = None


class Drop(msgspec.Struct, array_like=True, tag="d", gc=False):
    """Remove a record."""

    kind: str
    key: str
    version: int
    created_at: int
    after: int | None = None


class Tell(msgspec.Struct, array_like=True, tag="a", gc=False):
    """Append events, of which replicas need to know only how many there are and what span of time they cover."""

    n: int
    low: int
    high: int
    events: msgspec.Raw
    after: int | None = None


class Take(msgspec.Struct, array_like=True, tag="c", gc=False):
    """Claim.

    Attributes:
        now: The moment, where a test moves time; ``None``: the server's, which the message carries.
        lasts: Microseconds for which it stands if it finds nothing; 0: not at all.
        handed_lease: The lease of what is handed over then.
    """

    kind: str
    partitions: list[str] | None
    excluding: list[str]
    owner: str
    limit: int
    lease: int
    now: int | None
    after: int | None = None
    lasts: int = 0
    handed_lease: int = 0


class Unstand(msgspec.Struct, array_like=True, tag="u", gc=False):
    """End the claim of a kind that an owner has left standing; ``None``: everybody's."""

    kind: str
    owner: str | None
    after: int | None = None


class Trim(msgspec.Struct, array_like=True, tag="t", gc=False):
    """Drop events with ``ts < before``; ``partly`` says of segments of which some events stay how many go."""

    before: int
    partly: dict[int, int]
    after: int | None = None


class Saved(msgspec.Struct, array_like=True, tag="s", gc=False):
    """A snapshot was written, of so many bytes."""

    at: int
    size: int
    after: int | None = None


WireOp = Put | Swap | Move | Drop | Tell | Take | Unstand | Trim | Saved
Request = list[WireOp]
"""One caller's operations; ``after`` counts within it."""

_encode = msgspec.msgpack.Encoder().encode
_decode_requests = msgspec.msgpack.Decoder(list[Request]).decode
_decode_events = msgspec.msgpack.Decoder(list[TaskEvent]).decode


class Transaction(NamedTuple):
    """A transaction that is complete.

    Attributes:
        writer: Who wrote it.
        number: Its number among the writer's.
        content: Its requests; see `decode_requests`.
        places: The numbers of its messages.
    """

    writer: bytes
    number: int
    content: bytes
    places: tuple[int, ...]


def encode_request(request: Request) -> bytes:
    """One caller's operations as bytes.

    Raises:
        OverflowError: A number takes more than 64 bits.
        UnicodeEncodeError: A text is no Unicode.
    """
    return _encode(request)


def frames(writer: bytes, number: int, requests: Sequence[bytes], largest: int) -> list[bytes]:
    """The messages of a transaction, none longer than ``largest``."""
    content = _encode([msgspec.Raw(request) for request in requests])
    room = largest - _HEAD.size
    parts = max(1, -(-len(content) // room))
    return [
        _HEAD.pack(_MAGIC, writer, number, part, parts) + content[part * room : (part + 1) * room]
        for part in range(parts)
    ]


class Assembler:
    """Puts transactions together from messages. One counts from its last message on, and not at all without it."""

    def __init__(self) -> None:
        self._begun: dict[tuple[bytes, int], dict[int, tuple[int, int, bytes]]] = {}

    @property
    def is_idle(self) -> bool:
        """No transaction has begun that is not complete."""
        return not self._begun

    def take(self, seq: int, now: int, data: bytes) -> Transaction | None:
        """Take the next message; gives the transaction that it completes."""
        if self._begun:
            self._give_up(now)
        if len(data) < _HEAD.size or data[:4] != _MAGIC:
            return None
        _, writer, number, part, parts = _HEAD.unpack_from(data)
        content = data[_HEAD.size :]
        if parts == 1:
            return Transaction(writer, number, content, (seq,))
        begun = self._begun.setdefault((writer, number), {})
        begun[part] = (seq, now, content)
        if len(begun) < parts:
            return None
        del self._begun[writer, number]
        pieces = [begun[n] for n in sorted(begun)]
        return Transaction(writer, number, b"".join(piece for _, _, piece in pieces), tuple(at for at, _, _ in pieces))

    def _give_up(self, now: int) -> None:
        """Forget what a writer that vanished has begun: by the server's clock, so that everybody does at one place."""
        for name, begun in tuple(self._begun.items()):
            if max(moment for _, moment, _ in begun.values()) < now - _PART_SECONDS * 1_000_000:
                del self._begun[name]


def join(messages: Sequence[bytes]) -> bytes:
    """The content of a transaction whose messages were read anew."""
    return b"".join(message[_HEAD.size :] for message in messages)


def decode_requests(content: bytes) -> list[Request]:
    """A transaction's requests.

    Raises:
        msgspec.MsgspecError: It is no transaction.
    """
    return _decode_requests(content)


def decode_events(raw: bytes | msgspec.Raw) -> list[TaskEvent]:
    """The events of a `Tell`."""
    return _decode_events(raw)


# --- from the contract's operations to the log's ---


def row_of(record: Record, *, key: Record, version: int, body: bytes) -> Row:
    """The row for a record whose identity is that of ``key``."""
    return Row(
        key.kind, key.key, record.partition, record.state, record.rank, record.due_at, record.owner, record.claims,
        version, key.created_at, record.updated_at, record.expires_at, body,
    )  # fmt: skip


def record_of(row: Row) -> Record:
    """A record of the caller's own, whose body is still in the row's blob if it has one."""
    return Record(
        row.kind, row.key, row.partition, row.state, row.rank, row.due_at, row.owner, row.claims, row.version,
        row.created_at, row.updated_at, row.expires_at, row.body,
    )  # fmt: skip


def wire_op(op: Op) -> WireOp:
    """The operation as the log has it."""
    made: WireOp = _WIRE[type(op)](op)
    return made


def _put(op: Insert) -> Put:
    return Put(row_of(op.record, key=op.record, version=1, body=op.record.body), op.after)


def _swap(op: Replace) -> Swap:
    new, old = op.record, op.previous
    # A settlement leaves the body as it is, and so need not send it again.
    same = new.body is old.body
    return Swap(row_of(new, key=old, version=old.version + 1, body=b"" if same else new.body), same, op.after)


def _move(op: Extend) -> Move:
    old = op.previous
    return Move(old.kind, old.key, old.version, old.created_at, op.due_at, op.after)


def _drop(op: Delete) -> Drop:
    old = op.previous
    return Drop(old.kind, old.key, old.version, old.created_at, op.after)


def _tell(op: Append) -> Tell:
    moments = [event.ts for event in op.events]
    low, high = (min(moments), max(moments)) if moments else (0, 0)
    return Tell(len(moments), low, high, msgspec.Raw(_encode(op.events)), op.after)


_WIRE: dict[type, Any] = {Insert: _put, Replace: _swap, Extend: _move, Delete: _drop, Append: _tell}
