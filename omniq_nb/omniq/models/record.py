"""What a driver stores: records, and the operations that change them."""

from __future__ import annotations

from typing import Any

import msgspec

from .event import TaskEvent

RUNNING = "running"
"""The state that a claim gives to a record: the only state whose name drivers know."""


class Record(msgspec.Struct, gc=False):
    """One record of a store. Moments are microseconds since 1970, UTC.

    Attributes:
        kind: What it is: ``task``, ``result``, ``schedule``, ``queue``, ``function``, ``worker`` ...
        key: Names it within its kind, for ever.
        partition: What claims choose by; a task's queue.
        state: Opaque to drivers, but that a claim makes it ``running``.
        rank: Smaller ranks are claimed first.
        due_at: Claimable from then on; for a running record its lease's end; ``None``: never claimable.
        owner: Who claimed it.
        claims: How often it was claimed.
        version: The fencing token: 1 when inserted, one more at each claim and replacement.
        created_at: Age decides among equal ranks.
        updated_at: When it was last written.
        expires_at: From then on maintenance may remove or expire it; ``None``: never.
        body: The rest, opaque to drivers.
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


# Each operation has `after`: the index of an earlier operation of the same batch. If that one did not apply, this one
# is left out and counts as not applied. ``None``: unconditional.


class Insert(msgspec.Struct, frozen=True, gc=False):
    """Add ``record`` (with version 1). Fails if its kind and key exist."""

    record: Record
    after: int | None = None


class Replace(msgspec.Struct, frozen=True, gc=False):
    """Put ``record`` in the place of ``previous``, whose version must still stand.

    The stored version becomes ``previous.version + 1``, whatever ``record.version`` says. Kind, key and ``created_at``
    don't change. ``previous`` is the record as it was read, so that a driver knows which index entries go away without
    reading it again.
    """

    record: Record
    previous: Record
    after: int | None = None


class Extend(msgspec.Struct, frozen=True, gc=False):
    """Move ``due_at`` of ``previous``, whose version must still stand and then stands on."""

    previous: Record
    due_at: int
    after: int | None = None


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove ``previous``, whose version must still stand."""

    previous: Record
    after: int | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """Append events to the event log of the same store."""

    events: tuple[TaskEvent, ...]
    after: int | None = None


Op = Insert | Replace | Extend | Delete | Append
"""One operation of a `write` batch."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records a scan gives; every condition that is set must hold.

    Attributes:
        kind: The records' kind.
        partition: Their partition.
        state: Their state.
        expires_before: ``expires_at`` is set and less than this.
        prefix: Their key begins with this.
        newest_first: Order of keys: descending instead of ascending.
    """

    kind: str
    partition: str | None = None
    state: str | None = None
    expires_before: int | None = None
    prefix: str = ""
    newest_first: bool = False


class Page(msgspec.Struct, frozen=True):
    """Some records, and the cursor that continues after them (``None``: that was all).

    A page may be shorter than the limit, even empty, and still have a cursor: drivers bound the work of one call.
    """

    records: list[Record]
    cursor: str | None


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a query or stream gives; every condition that is set must hold.

    Attributes:
        task_id: Of this task.
        schedule_id: Of this schedule.
        types: Of these types; a type that ends in ``.*`` stands for all that begin like it.
        queue: Of this queue.
        since: ``ts`` at or after this moment, in microseconds since 1970.
        until: ``ts`` before this moment.
        limit: At most so many, the latest ones.
    """

    task_id: str | None = None
    schedule_id: str | None = None
    types: tuple[str, ...] = ()
    queue: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int | None = None


Columns = dict[str, list[Any]]
"""Events as columns, one list per field of `TaskEvent`, in order of ``ts``."""
