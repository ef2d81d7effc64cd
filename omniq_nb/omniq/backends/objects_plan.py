"""What a group of calls comes to, decided against a replica, before anything is written; no I/O.

The commit that a plan gives is written under the number after the replica's last. If somebody else has written that
number, the plan was made of old news: it is taken back (`Plan.undo`), and made again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

from ..models.event import TaskEvent
from ..models.record import RUNNING, Append, Delete, Extend, Insert, Op, Record, Replace
from ..storage.driver import Key
from .objects_format import Checkpoint, Commit, Row, Segment, Trim, blob_name, digest_of, patch_of
from .objects_state import Changes, State

INLINE_BYTES = 2048
"""A longer body is an object of its own: replicas keep all others in memory."""


Blobs = dict[tuple[str, str, str], str]
"""Kind, key and digest of a large body, and the object that holds it."""


class Claim(msgspec.Struct, frozen=True):
    """The arguments of `Driver.claim`."""

    kind: str
    partitions: Sequence[str] | None
    owner: str
    limit: int
    lease: int
    excluding: Collection[str]


class Write(msgspec.Struct, frozen=True):
    """A batch of operations.

    Attributes:
        ops: See `Driver.write`.
        blobs: The large bodies, which are there already.
    """

    ops: Sequence[Op]
    blobs: Blobs = {}


class Note(msgspec.Struct, frozen=True):
    """What the store's own upkeep writes.

    Attributes:
        segment: Takes the place of others, or of the tail's first events.
        replaces: The segments that it rests on.
        trim: See `Trim`.
        checkpoint: Has been taken.
    """

    segment: Segment | None = None
    replaces: tuple[Segment, ...] = ()
    trim: Trim | None = None
    checkpoint: Checkpoint | None = None


Request = Claim | Write | Note


def has_large_bodies(ops: Sequence[Op]) -> bool:
    """Whether some body is too long for the log."""
    return any(len(op.record.body) > INLINE_BYTES for op in ops if type(op) is Insert or type(op) is Replace)


def large_bodies(state: State, ops: Sequence[Op], now: int) -> tuple[Blobs, dict[str, bytes]]:
    """The objects that large bodies get, and those that are still to be written.

    A body that stays as it is stays where it is, if the state has the version that is replaced: then the object is
    there as long as the fence holds. What else a state that is behind the times says of a record may be gone.
    """
    names: Blobs = {}
    missing: dict[str, bytes] = {}
    for op in ops:
        if not isinstance(op, Insert | Replace) or len(op.record.body) <= INLINE_BYTES:
            continue
        record = op.record
        digest = digest_of(record.body)
        place = (record.kind, record.key, digest)
        if names.get(place) in missing:
            continue
        name = _kept_blob(state, op.previous, digest) if isinstance(op, Replace) else None
        if name is None:
            name = blob_name(now, digest)
            missing[name] = record.body
        names[place] = name
    return names, missing


def _kept_blob(state: State, previous: Record, digest: str) -> str | None:
    old = state.find(previous.kind, previous.key)
    if old is None or old.blob is None or not old.blob.endswith(digest) or not _is_version(old, previous):
        return None
    return old.blob


def _is_version(row: Row, record: Record) -> bool:
    return row.version == record.version and row.created_at == record.created_at


class Plan:
    """A group of calls, decided.

    Claims come first, as they see the replica as it is; then the batches, in order.

    Attributes:
        outcomes: One for each request: rows, booleans, or whether a note counts.
        claimable: Whether some batch may have made a record claimable.
        wrote: Whether there is anything but claims.
    """

    def __init__(self, state: State, requests: Sequence[Request], now: int) -> None:
        self._state = state
        self._now = now
        self._rows: dict[Key, Row | None] = {}
        self._events: list[TaskEvent] = []
        self._taken: list[Row] = []
        self._note = Note()
        self.claimable = False
        self.wrote = False
        self.outcomes: list[Any] = [None] * len(requests)
        for index, request in enumerate(requests):
            if isinstance(request, Claim):
                self.outcomes[index] = self._claim(request)
        for index, request in enumerate(requests):
            if isinstance(request, Write):
                self.wrote = True
                self.outcomes[index] = self._write(request)
            elif isinstance(request, Note):
                self.wrote = True
                self.outcomes[index] = self._take_note(request)
        self.changes = self._changes()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return self.changes == _NOTHING

    def commit(self, token: str) -> Commit:
        """What goes into the log."""
        state, changes = self._state, self.changes
        commit = Commit(
            token, self._now, [], [], changes.deleted, changes.events, changes.segment, changes.trim,
            changes.checkpoint
        )  # fmt: skip
        for row in changes.rows:
            old = state.find(row.kind, row.key)
            if old is not None and old.blob == row.blob and old.body == row.body:
                commit.patches.append(patch_of(row))
            else:
                commit.rows.append(row)
        return commit

    def undo(self) -> None:
        """Leave the state as it was found."""
        for row in self._taken:
            self._state.kind(row.kind).put_back(row)

    # --- claims ---

    def _claim(self, claim: Claim) -> list[Row]:
        index = self._state.kinds.get(claim.kind)
        if index is None or claim.limit <= 0:
            return []
        now, due_at = self._now, self._now + claim.lease
        taken = {row.key for row in self._taken if row.kind == claim.kind}
        old = index.take(claim.partitions, claim.excluding, claim.limit, now, taken)
        self._taken += old
        rows = [
            Row(
                row.kind, row.key, row.partition, RUNNING, row.rank, due_at, claim.owner, row.claims + 1,
                row.version + 1, row.created_at, now, row.expires_at, row.body, row.blob,
            )
            for row in old
        ]  # fmt: skip
        for row in rows:
            self._rows[row.kind, row.key] = row
        return rows

    # --- batches ---

    def _write(self, write: Write) -> list[bool]:
        outcomes: list[bool] = []
        for op in write.ops:
            outcomes.append((op.after is None or outcomes[op.after]) and _APPLY[type(op)](self, op, write.blobs))
        return outcomes

    def _current(self, key: Key) -> Row | None:
        if key in self._rows:
            return self._rows[key]
        return self._state.find(*key)

    def _fenced(self, previous: Record) -> Row | None:
        row = self._current((previous.kind, previous.key))
        return row if row is not None and _is_version(row, previous) else None

    def _insert(self, op: Insert, blobs: Blobs) -> bool:
        record = op.record
        key = (record.kind, record.key)
        if self._current(key) is not None:
            return False
        self._put(record, record.kind, record.key, 1, record.created_at, blobs)
        return True

    def _replace(self, op: Replace, blobs: Blobs) -> bool:
        old = self._fenced(op.previous)
        if old is None:
            return False
        self._put(op.record, old.kind, old.key, old.version + 1, old.created_at, blobs)
        return True

    def _put(self, r: Record, kind: str, key: str, version: int, created_at: int, blobs: Blobs) -> None:
        body, blob = r.body, None
        if blobs and len(body) > INLINE_BYTES:
            body, blob = b"", blobs[r.kind, r.key, digest_of(body)]
        self._rows[kind, key] = Row(
            kind, key, r.partition, r.state, r.rank, r.due_at, r.owner, r.claims, version, created_at, r.updated_at,
            r.expires_at, body, blob,
        )  # fmt: skip
        self.claimable = self.claimable or r.due_at is not None

    def _extend(self, op: Extend, _: Blobs) -> bool:
        row = self._fenced(op.previous)
        if row is None:
            return False
        self._rows[row.kind, row.key] = msgspec.structs.replace(row, due_at=op.due_at)
        return True

    def _delete(self, op: Delete, _: Blobs) -> bool:
        row = self._fenced(op.previous)
        if row is None:
            return False
        self._rows[row.kind, row.key] = None
        return True

    def _append(self, op: Append, _: Blobs) -> bool:
        self._events += op.events
        return True

    # --- upkeep ---

    def _take_note(self, note: Note) -> bool:
        """A note that rests on what has changed since is left out; so is a second one, until the next commit."""
        if self._note != Note():
            return False
        state = self._state
        if note.segment is not None and not note.replaces and note.segment.first != state.tail_first:
            return False
        if not set(note.replaces) <= set(state.segments):
            return False
        self._note = note
        return True

    def _changes(self) -> Changes:
        rows = [row for row in self._rows.values() if row is not None]
        deleted = [key for key, row in self._rows.items() if row is None and self._state.find(*key) is not None]
        note = self._note
        return Changes(rows, deleted, self._events, note.segment, note.trim, note.checkpoint)


_NOTHING = Changes([], [], [])

_APPLY: dict[type, Callable[[Plan, Any, Blobs], bool]] = {
    Insert: Plan._insert,  # noqa: SLF001 -- by type, not by `match`: this is the hottest loop
    Replace: Plan._replace,
    Extend: Plan._extend,  # noqa: SLF001 -- see above
    Delete: Plan._delete,  # noqa: SLF001 -- see above
    Append: Plan._append,  # noqa: SLF001 -- see above
}


def uploads_of(requests: Iterable[Request]) -> set[str]:
    """The objects that were written for these calls."""
    return set(itertools.chain.from_iterable(each.blobs.values() for each in requests if isinstance(each, Write)))
