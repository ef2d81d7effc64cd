"""A replica: what the log says up to some commit, in memory. The drivers of one process share one.

Whoever reads or changes it holds its lock, for as long as it takes to compute and never while talking to the store.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from ..models.event import TaskEvent
from ..models.record import RUNNING
from ..storage.driver import Key
from .objects_format import Checkpoint, Commit, Manifest, Row, RunBody, Segment, Trim, patched
from .objects_index import KindIndex

MARK_SECONDS = 1.0
"""How often it is noted which commit was known when."""


class Changes(NamedTuple):
    """A commit's changes, with complete rows."""

    rows: list[Row]
    deleted: list[Key]
    events: list[TaskEvent]
    segment: Segment | None = None
    trim: Trim | None = None
    checkpoint: Checkpoint | None = None


class State:
    """The records and the event log after commit number `position`.

    Attributes:
        position: The last commit that was applied.
        kinds: The records.
        blobs: The objects that hold large bodies of records.
        tail: The youngest events; ``None`` where one was trimmed.
        tail_first: Number of the first of them.
        segments: The objects that hold the older ones, in order.
        trims: See `Trim`.
        checkpoint: The latest that was announced.
        touched: Keys of records that changed since then, and the commit that did it.
        log_bytes: What the commits since then hold.
    """

    def __init__(self) -> None:
        self.position = 0
        self.kinds: dict[str, KindIndex] = {}
        self.blobs: set[str] = set()
        self.tail: list[TaskEvent | None] = []
        self.tail_first = 0
        self.segments: list[Segment] = []
        self.trims: list[Trim] = []
        self.checkpoint = Checkpoint(0)
        self.touched: dict[Key, int] = {}
        self.log_bytes = 0

    @property
    def events_end(self) -> int:
        """The number of the next event."""
        return self.tail_first + len(self.tail)

    def kind(self, name: str) -> KindIndex:
        """The records of a kind."""
        index = self.kinds.get(name)
        if index is None:
            index = self.kinds[name] = KindIndex()
        return index

    def find(self, kind: str, key: str) -> Row | None:
        """The record with this kind and key."""
        index = self.kinds.get(kind)
        return None if index is None else index.rows.get(key)

    # --- loading ---

    def begin_at(self, manifest: Manifest) -> None:
        """Take a checkpoint's moment and events; `load` its runs after that."""
        self.checkpoint = manifest.checkpoint
        self.position = manifest.checkpoint.number
        self.segments, self.trims = manifest.segments, manifest.trims
        self.tail_first, self.tail = manifest.tail_first, manifest.tail

    def load(self, body: RunBody, now: int) -> None:
        """Take in a run's rows."""
        self._write(body.rows, body.deleted, now)

    # --- applying ---

    def changes_of(self, commit: Commit) -> Changes:
        """A commit's changes, its patches applied to the rows here."""
        rows = commit.rows
        for patch in commit.patches:
            row = self.find(patch.kind, patch.key)
            # None: a checkpoint that was taken while others wrote is ahead of this commit; a later one will delete it.
            if row is not None:
                rows.append(patched(patch, row))
        return Changes(rows, commit.deleted, commit.events, commit.segment, commit.trim, commit.checkpoint)

    def apply(self, number: int, changes: Changes, now: int, size: int) -> list[str]:
        """Apply the next commit; gives the blobs that no record names any more."""
        self.position = number
        self.log_bytes += size
        touched = self.touched
        for row in changes.rows:
            touched[row.kind, row.key] = number
        for key in changes.deleted:
            touched[key] = number
        dropped = self._write(changes.rows, changes.deleted, now)
        self.tail += changes.events
        if changes.segment is not None:
            self._take_segment(changes.segment)
        if changes.trim is not None:
            self._trim(changes.trim)
        if changes.checkpoint is not None:
            self._take_checkpoint(changes.checkpoint)
        return dropped

    def _write(self, rows: Iterable[Row], deleted: Iterable[tuple[str, str]], now: int) -> list[str]:
        dropped: list[str] = []
        for row in rows:
            old = self.kind(row.kind).put(row, now)
            if old is not None and old.blob is not None and old.blob != row.blob:
                dropped.append(old.blob)
            if row.blob is not None:
                self.blobs.add(row.blob)
        for kind, key in deleted:
            old = self.kind(kind).remove(key)
            if old is not None and old.blob is not None:
                dropped.append(old.blob)
        self.blobs.difference_update(dropped)
        return dropped

    def _take_segment(self, segment: Segment) -> None:
        rest = [each for each in self.segments if each.end <= segment.first or each.first >= segment.end]
        if segment.name:
            rest.append(segment)
            rest.sort(key=lambda each: each.first)
        self.segments = rest
        if segment.end > self.tail_first:
            del self.tail[: segment.end - self.tail_first]
            self.tail_first = segment.end

    def _trim(self, trim: Trim) -> None:
        for index in range(min(len(self.tail), max(trim.number - self.tail_first, 0))):
            event = self.tail[index]
            if event is not None and event.ts < trim.before:
                self.tail[index] = None
        self.segments = [each for each in self.segments if each.end > trim.number or each.max_ts >= trim.before]
        self.trims = [
            each
            for each in (*self.trims, trim)
            if any(part.first < each.number and part.min_ts < each.before for part in self.segments)
        ]

    def _take_checkpoint(self, checkpoint: Checkpoint) -> None:
        if checkpoint.number > self.checkpoint.number:
            self.checkpoint = checkpoint
            self.touched = {key: number for key, number in self.touched.items() if number > checkpoint.number}
            self.log_bytes = 0

    def is_trimmed(self, number: int, ts: int) -> bool:
        """Whether an event that a segment still holds is gone."""
        return any(number < trim.number and ts < trim.before for trim in self.trims)


def makes_claimable(changes: Changes) -> bool:
    """Whether somebody else's commit may be good news for claimers."""
    return any(row.due_at is not None and row.state != RUNNING for row in changes.rows)


class Replica:
    """A process's `State` of one store, and how fresh it is.

    Attributes:
        lock: Held by whoever reads or changes the state.
        state: As of the last look.
        contact: When it was last certain that the commit after `State.position` had not been deleted (see
            `objects_log`), in seconds of a clock that runs while the machine sleeps.
        users: Open drivers.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.state = State()
        self.contact = float("-inf")
        self.loaded = False
        self.users: set[Listener] = set()
        self._marks: deque[tuple[float, int]] = deque()

    def touch(self, moment: float) -> None:
        """Note a contact."""
        self.contact = max(self.contact, moment)
        if not self._marks or moment - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((moment, self.state.position))

    def position_before(self, moment: float) -> int:
        """The last commit that was known at that moment; 0 if there is none."""
        position = 0
        while self._marks and self._marks[0][0] <= moment:
            position = self._marks.popleft()[1]
        if position:
            self._marks.appendleft((moment, position))
        return position

    def tell(self, *, claimable: bool, writer: Listener | None) -> None:
        """Pass a hint on to every open driver of the process."""
        for user in tuple(self.users):
            user.changed(claimable=claimable, own=user is writer)


class Listener:
    """A driver, as the replica knows it."""

    def changed(self, *, claimable: bool, own: bool) -> None:
        """The store has changed; any thread may call it."""
        raise NotImplementedError


def seconds_now() -> float:
    """Seconds of a clock that also runs while the machine sleeps, where there is one."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.time()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)

_replicas: dict[tuple[object, ...], Replica] = {}
_replicas_lock = threading.Lock()


def _forget_after_fork() -> None:
    """A child's copies would be stale, and their locks may be held by threads that it does not have."""
    global _replicas_lock  # noqa: PLW0603 -- see above
    _replicas_lock = threading.Lock()
    _replicas.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def join(identity: tuple[object, ...], user: Listener) -> Replica:
    """The process's replica of a store; made for its first user."""
    with _replicas_lock:
        replica = _replicas.setdefault(identity, Replica())
        replica.users.add(user)
    return replica


def leave(identity: tuple[object, ...], user: Listener) -> None:
    """Give the replica up; it goes with its last user."""
    with _replicas_lock:
        replica = _replicas.get(identity)
        if replica is not None:
            replica.users.discard(user)
            if not replica.users:
                del _replicas[identity]
