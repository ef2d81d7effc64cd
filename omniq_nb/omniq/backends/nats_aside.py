"""What lies beside the log: large bodies, and snapshots of what the log has said so far.

A body of more than `INLINE` bytes is a message of its own, a blob: replicas keep only its number, and whoever wants it
fetches it. A snapshot saves who comes later from reading the log from its beginning, and lets its beginning be deleted.
It counts once its manifest is there, and a manifest takes the place of the one that its writer has found, or of none:
so of two writers at once one succeeds. What the other one, or one that vanishes on the way, leaves behind the next
snapshot removes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import msgspec

from ..errors import StoreCorruptError
from ..storage.parallel import in_parallel
from .nats_connection import Connection, JetStreamError, answer_of
from .nats_log import Names, read_by_number
from .nats_replica import Replica
from .nats_segments import Packed
from .nats_wire import SCHEMA, Row, Take

INLINE = 16_384
"""Bytes of a body that the log itself takes, and every replica keeps in memory."""
_ROWS, _SEGMENTS = 500, 20_000
"""What one piece of a snapshot holds."""
_AT_ONCE = 16
"""Messages under way at a time."""
_NO_MESSAGE = frozenset({"message not found", "no message found"})
_ABANDONED = 600 * 1_000_000
"""Microseconds after which nobody is about to name a blob any more."""


class _Rows(msgspec.Struct, array_like=True, tag="r", gc=False):
    rows: list[Row]


class Manifest(msgspec.Struct, array_like=True, gc=False):
    """Of a snapshot.

    Attributes:
        at: The last message of the log that it covers.
        now: The server's clock then.
        made: When the log's stream was made.
        end: See `Segments`.
        size: Bytes of all pieces.
        pieces: The numbers of the messages of each piece.
        standing: See `Replica`.
    """

    schema: int
    at: int
    now: int
    made: str
    end: tuple[int, int]
    size: int
    pieces: list[list[int]]
    standing: list[tuple[Take, int]] = []


class Snapshot:
    """A replica as it was at one moment, to be written while the replica itself goes on.

    Args:
        replica: No transaction may have begun that is not complete, or who starts from the snapshot would miss its
            beginning.
        made: When the log's stream was made.
    """

    def __init__(self, replica: Replica, made: str) -> None:
        self.manifest = Manifest(
            SCHEMA, replica.seq, replica.now, made, replica.segments.end, 0, [], replica.standing
        )  # fmt: skip
        # Rows are never changed in place: a list of them is a picture of this moment, and cheap.
        self.rows = [row for shelf in replica.shelves.values() for row in shelf.rows.values()]
        self._segments = list(replica.segments.pack(_SEGMENTS))

    def contents(self) -> Iterator[bytes]:
        """Its pieces."""
        for start in range(0, len(self.rows), _ROWS):
            yield _encode(_Rows(self.rows[start : start + _ROWS]))
        yield from map(_encode, self._segments)


_encode = msgspec.msgpack.Encoder().encode
_decode_piece = msgspec.msgpack.Decoder(_Rows | Packed).decode
_decode_manifest = msgspec.msgpack.Decoder(Manifest).decode


class Aside:
    """The stream beside one namespace's log.

    Args:
        connection: Open.
        names: The namespace's.
        url: For messages; passwords masked.
    """

    def __init__(self, connection: Connection, names: Names, url: str) -> None:
        self._connection = connection
        self._stream = names.aside
        self._blobs, self._pieces, self._manifest = (
            f"{names.aside_subject}.{each}" for each in ("blobs", "pieces", "manifest")
        )
        self._url = url

    async def _write(self, subject: str, content: bytes) -> list[int]:
        """Write something of any size; gives the numbers of its messages."""
        room = self._connection.largest - 1024  # for the subject and the like
        parts = [content[at : at + room] for at in range(0, len(content), room)] or [b""]
        answers = [await self._connection.send(subject, part) for part in parts]
        return [answer_of(await answer)["seq"] for answer in answers]

    async def _read(self, seqs: Sequence[int]) -> bytes | None:
        parts = await read_by_number(self._connection, self._stream, seqs)
        return None if None in parts else b"".join(part or b"" for part in parts)

    # --- large bodies ---

    async def write_blob(self, body: bytes) -> str:
        """Write a body; gives the blob's name."""
        return ".".join(map(str, await self._write(self._blobs, body)))

    async def read_blobs(self, names: Sequence[str]) -> list[bytes | None]:
        """Read bodies; ``None`` for one that is gone."""
        return await in_parallel(lambda name: self._read(_numbers(name)), names, limit=_AT_ONCE)

    async def delete_blobs(self, names: Sequence[str]) -> None:
        """Delete bodies that no record has any more."""
        for name in names:
            for seq in _numbers(name):
                try:
                    await self._connection.request(f"STREAM.MSG.DELETE.{self._stream}", {"seq": seq, "no_erase": True})
                except JetStreamError as error:
                    # Somebody else was faster, or has emptied the stream.
                    if error.description not in _NO_MESSAGE and not error.is_missing:
                        raise

    # --- snapshots ---

    async def load(self) -> tuple[Replica, Manifest] | None:
        """The latest snapshot; ``None``: there is none.

        Raises:
            StoreCorruptError: It is not complete.
        """
        before: Manifest | None = None
        while (manifest := (await self._find())[0]) is not None:
            if (replica := await self._restore(manifest)) is not None:
                return replica, manifest
            if before == manifest:
                raise StoreCorruptError(self._url, "a part of its snapshot is missing")
            before = manifest  # a later snapshot has taken its place in the meantime
        return None

    async def _find(self) -> tuple[Manifest | None, int]:
        """The latest manifest, and the number of its message."""
        try:
            answer = await self._connection.request(f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": self._manifest})
        except JetStreamError as error:
            if error.is_missing:
                return None, 0
            raise
        try:
            return _decode_manifest(base64.b64decode(answer["message"].get("data", ""))), answer["message"]["seq"]
        except msgspec.MsgspecError as error:
            raise StoreCorruptError(self._url, f"its snapshot can't be read: {error}") from error

    async def _restore(self, manifest: Manifest) -> Replica | None:
        replica = Replica()
        for start in range(0, len(manifest.pieces), _AT_ONCE):
            some = manifest.pieces[start : start + _AT_ONCE]
            for content in await in_parallel(self._read, some, limit=_AT_ONCE):
                if content is None:
                    return None
                piece = _decode_piece(content)
                if isinstance(piece, Packed):
                    replica.segments.unpack(piece)
                else:
                    for row in piece.rows:
                        replica.restore(row)
        replica.seq, replica.now, replica.segments.end = manifest.at, manifest.now, manifest.end
        replica.restore_standing(manifest.standing)
        replica.saved = (manifest.at, manifest.size)
        return replica

    async def save(self, snapshot: Snapshot) -> Manifest | None:
        """Write a snapshot; ``None``: somebody else has written one meanwhile, and it counts instead."""
        previous, at = await self._find()
        manifest = snapshot.manifest
        for content in snapshot.contents():
            manifest.size += len(content)
            manifest.pieces.append(await self._write(self._pieces, content))
        expected = {"Nats-Expected-Last-Subject-Sequence": str(at)}
        try:
            answer_of(await (await self._connection.send(self._manifest, _encode(manifest), expected)))
        except JetStreamError as error:
            if error.is_overtaken:
                return None
            raise
        await self._tidy(manifest)
        if previous is not None and previous.pieces and previous.now < manifest.now - _ABANDONED:
            await self._delete_abandoned(previous.pieces[0][0], snapshot.rows)
        return manifest

    async def _tidy(self, manifest: Manifest) -> None:
        """Delete earlier snapshots."""
        if manifest.pieces:
            await self._purge({"filter": self._pieces, "seq": manifest.pieces[0][0]})
        await self._purge({"filter": self._manifest, "keep": 1})

    async def _delete_abandoned(self, before: int, rows: list[Row]) -> None:
        """Delete blobs whose writers vanished before they named them: older than ``before`` and than any used one."""
        used = (_numbers(row.blob)[0] for row in rows if row.blob is not None)
        await self._purge({"filter": self._blobs, "seq": min(before, min(used, default=before))})

    async def _purge(self, what: dict[str, str | int]) -> None:
        await self._connection.request(f"STREAM.PURGE.{self._stream}", what)


def _numbers(name: str) -> list[int]:
    return [int(part) for part in name.split(".")]
