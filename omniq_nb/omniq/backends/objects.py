"""Files and buckets: a store that needs nothing but "create this object, unless it is there".

How it is used: a directory, or a bucket of S3, Azure or Google Cloud, holds one log. Commit N+1 is the creation of the
object of that name by somebody who has read commit N, and it holds all that one group of calls changed: records,
results and events together. Creating it is the only atomic step there is, and the fence of everything: who is behind
the times finds the name taken, reads on, and decides anew. So a batch is one transaction, order is exact, and counting
costs nothing: every process keeps what the log says in memory (`objects_state`), but for large bodies.

What lies where, under the URL's path and the namespace:

=================================  ====================================================================================
``format``                         marks the place as OmniQ's, and says the version
``log/NNN/NNNNNN``                 the commits; deleted some time after a checkpoint
``checkpoints/NNNNNN``             the records after that commit, as names of runs; only the latest stays
``runs/TIME-RANDOM``               rows of a checkpoint: a base with every record, and what changed since
``events/TIME-RANDOM[.parquet]``   events that went out of the log, a few thousand each; many as one Parquet file
``blobs/TIME-RANDOM-HASH``         a body of more than 2 kB; deleted with its record
=================================  ====================================================================================

What it costs, in requests: an enqueue, a claim and a settlement (task, result and events) are one PUT each, alone as in
a batch of thousands; so a task costs three, and a batch of any size three as well. What reads (a look for tasks, a
result, a count) is one GET that finds nothing new, or one per commit of others. Who loses a race for a name pays two
requests more. A body of more than 2 kB is one PUT and one GET of its own. A query of old events is one GET for each
segment in its span of time, side by side. Every 256 commits a checkpoint takes about
six requests, and deleting commits is free at S3 and Google. Listing is needed at opening and at checkpoints only, and
of a bucket every ten minutes, for the time.

What limits it: commits come one after the other, some 15 a second at a bucket, hundreds to thousands on a disk, however
many tasks are in each. A million waiting records take about 700 MB of memory, and some seconds to open.
"""

from __future__ import annotations

import abc
import asyncio
import random
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Unpack
from urllib.parse import parse_qs, urlsplit

from ..errors import (
    ConfigError,
    NotOpenError,
    StoreBusyError,
    StoreCorruptError,
    StoreTooNewError,
    StoreTooOldError,
)
from ..models.event import TaskEvent
from ..models.record import Columns, EventFilter, Filter, Op, Page, Record
from ..storage.driver import DriverSettings, Key, Position
from ..storage.endings import each_of
from ..storage.group_commit import GroupCommit
from ..storage.remote import RemoteDriver
from ..storage.watch import Watcher, Watchers
from .objects_events import Events
from .objects_format import FORMAT, MARKER, Row, Trim, pack, record_of, unique
from .objects_log import Log
from .objects_plan import Claim, Note, Plan, Request, Write, has_large_bodies, large_bodies, uploads_of
from .objects_state import Listener, join, leave, seconds_now
from .objects_store import ObjectStore
from .objects_upkeep import Upkeep

_OPS_PER_COMMIT = 10_000
_BUSY_SECONDS = 60.0
_LONGEST_PAUSE = 0.5
_CONTENDED_SECONDS = 1.0
"""After a lost race the driver looks before it writes, for so long."""
_BODY_TRIES = 5
_MARKER_TEXT = b"OmniQ "


class ObjectDriver(RemoteDriver, Listener):
    """A store of objects. A subclass says how to reach it: see `ObjectStore`.

    Args:
        url: With ``?namespace=NAME`` for one of several stores at one place (``omniq`` unless said otherwise), and
            ``?create=true`` to have a missing bucket created.
        clock: The store's, if it has one, unless a test passes its own.
        durability: Of use to files only.
        options: For the client library.
    """

    option_names: ClassVar[frozenset[str] | None] = None

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        super().__init__(url, **settings)
        self.namespace, self._creates = _query_of(url)
        self._store: ObjectStore | None = None
        self._log: Log | None = None
        self._commits: GroupCommit[Request, Any] = GroupCommit(self._commit, share=_share, name="omniq-commits")
        self._contended_until = 0.0
        self._closing = False
        self._watchers = Watchers(self.first_watcher, self.last_watcher)

    @abc.abstractmethod
    def make_store(self) -> ObjectStore:
        """The objects under the URL's path and the namespace; not connected yet."""

    # --- life cycle ---

    async def _connect(self) -> None:
        if self._log is not None:
            return
        identity = self._identity()
        store = self.make_store()
        replica = join(identity, self)
        log = Log(self.url, store, replica, self.call, self)
        try:
            time = await self.call(lambda: store.open(create=self._creates), repeat=True)
            await self._check_marker(log)
            await log.catch_up()
        except BaseException:
            leave(identity, self)
            await store.close()
            raise
        self._set_clock(time)
        self._store, self._log, self._replica = store, log, replica
        self._events = Events(self.url, log, replica)
        self._upkeep = Upkeep(self.url, store, log, replica, self._commits.submit, self.clock)
        self._closing = False

    def _identity(self) -> tuple[object, ...]:
        return type(self), self.url, repr(sorted(self.options.items(), key=lambda item: item[0]))

    def _set_clock(self, time: int | None) -> None:
        """For a store that has a clock: take what that one showed at opening."""

    async def keep_time(self) -> None:
        """For a store that has a clock: compare with that one, where it is time to."""

    async def _check_marker(self, log: Log) -> None:
        text = _MARKER_TEXT + b"%d\n" % FORMAT
        marker = await log.get(MARKER)
        if marker is None and await log.create(MARKER, text) and await log.create(MARKER, text):
            raise StoreTooOldError(self.url, "it lets two writers create the same object: it ignores the condition")
        marker = marker or await log.get(MARKER) or text
        version = marker.removeprefix(_MARKER_TEXT).strip()
        if not marker.startswith(_MARKER_TEXT) or not version.isdigit():
            raise StoreCorruptError(self.url, f"its object {MARKER!r} is some other program's")
        if int(version) > FORMAT:
            raise StoreTooNewError(self.url, f"its format is {int(version)}, this OmniQ knows {FORMAT}")

    async def _let_go(self) -> None:
        log, store = self._log, self._store
        if log is None or store is None:
            return
        self._closing = True
        try:
            await each_of(self._commits.finish, self._upkeep.finish, log.settle_down)
        finally:
            self._log = self._store = None
            leave(self._identity(), self)
            await store.close()

    def _opened(self) -> Log:
        if self._log is None or self._closing:
            raise NotOpenError(type(self).__name__)
        return self._log

    # --- writes ---

    async def claim(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        lease: int,
        *,
        excluding: Collection[str] = (),
    ) -> list[Record]:
        self._opened()
        rows: list[Row] = await self._commits.submit(Claim(kind, partitions, owner, limit, lease, excluding))
        bodies = await self._bodies(rows)
        # Where a body was deleted by hand, whoever can't read the record settles it.
        return [record_of(row, bodies.get(row.blob, b"") if row.blob is not None else None) for row in rows]

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        self._opened()
        if not ops:
            return []
        write = await self._with_blobs(ops) if has_large_bodies(ops) else Write(ops)
        outcomes: list[bool] = await self._commits.submit(write)
        return outcomes

    async def _with_blobs(self, ops: Sequence[Op]) -> Write:
        """Write large bodies as objects of their own, before the commit that names them."""
        log = self._opened()
        with self._replica.lock:
            blobs, missing = large_bodies(self._replica.state, ops, self.clock())
        await log.create_all(missing)
        return Write(ops, blobs)

    async def _commit(self, requests: list[Request]) -> Sequence[Any]:
        """Decide, and write what was decided, again and again until nobody else was faster."""
        assert self._store is not None
        await self.keep_time()
        await self._store.take_turn()
        try:
            return await self._commit_in_turn(requests)
        finally:
            self._store.end_turn()

    async def _commit_in_turn(self, requests: list[Request]) -> Sequence[Any]:
        log, replica, loop = self._log, self._replica, asyncio.get_running_loop()
        assert log is not None
        assert self._store is not None
        fresh = self._store.looks_cheaply or loop.time() < self._contended_until
        if fresh:
            await log.catch_up()
        attempt, give_up_at = 0, loop.time() + _BUSY_SECONDS
        while loop.time() < give_up_at:
            began = seconds_now()
            with replica.lock:
                plan = Plan(replica.state, requests, self.clock())
                number, contact, loaded = replica.state.position + 1, replica.contact, replica.loaded
                try:
                    token, data = self._encode(plan)
                except BaseException:
                    plan.undo()
                    raise
            if loaded and plan.is_empty and fresh:
                return plan.outcomes
            try:
                written = loaded and not plan.is_empty and await log.append(number, data, token, contact)
            except BaseException:
                self._undo(plan)
                raise
            if written:
                self._committed(log, plan, requests, number, len(data), began)
                return plan.outcomes
            self._undo(plan)
            attempt += 1
            fresh = await self._read_on(log, number, attempt, lost=loaded and not plan.is_empty)
        raise StoreBusyError(self.url, f"{attempt} commits were overtaken")

    def _encode(self, plan: Plan) -> tuple[str, bytes]:
        if plan.is_empty:
            return "", b""
        token = unique(0)
        return token, pack(plan.commit(token))

    def _undo(self, plan: Plan) -> None:
        with self._replica.lock:
            plan.undo()

    async def _read_on(self, log: Log, number: int, attempt: int, *, lost: bool) -> bool:
        """After a plan that was made of old news, perhaps; says whether the replica is up to date now."""
        if not lost:
            return await log.catch_up()
        self._contended_until = asyncio.get_running_loop().time() + _CONTENDED_SECONDS
        fresh = await log.catch_up(to_the_end=False)
        if self._replica.state.position < number:
            # S3 refuses one of two writers who meet before either of them is there.
            await asyncio.sleep(random.uniform(0, min(0.01 * 2**attempt, _LONGEST_PAUSE)))
        return fresh

    def _committed(self, log: Log, plan: Plan, requests: list[Request], number: int, size: int, began: float) -> None:
        dropped = set(log.applied(number, plan.changes, self.clock(), size, began))
        if uploads := uploads_of(requests):
            with self._replica.lock:
                dropped |= uploads - self._replica.state.blobs
        self._upkeep.delete_soon(dropped)
        if plan.wrote:
            self._replica.tell(claimable=plan.claimable, writer=self)
            self.wrote(claimable=plan.claimable)
        if not self._closing:
            self._upkeep.begin_if_due(size)

    # --- hints ---

    def watch(self, *, claimable: bool = False, others: bool = False) -> Watcher:
        return self._watchers.add(claimable=claimable, others=others)

    def changed(self, *, claimable: bool, own: bool) -> None:
        self._watchers.notify(claimable=claimable, own=own)

    def wrote(self, *, claimable: bool) -> None:
        """For a store that can tell other processes."""

    def first_watcher(self) -> None:
        """For a store that can listen to other processes."""

    def last_watcher(self) -> None:
        """See `first_watcher`."""

    # --- reads ---

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        await self._opened().refresh()
        with self._replica.lock:
            rows = [self._replica.state.find(*key) for key in keys]
        return await self._records(rows)

    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        await self._opened().refresh()
        with self._replica.lock:
            index = self._replica.state.kinds.get(match.kind)
            rows, after = index.scan(match, cursor, limit) if index is not None else ([], None)
        records = await self._records(rows)
        return Page([record for record in records if record is not None], after)

    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        await self._opened().refresh()
        with self._replica.lock:
            index = self._replica.state.kinds.get(kind)
            return dict(index.counts) if index is not None else {}

    async def next_due(self, kind: str) -> int | None:
        self._opened()
        with self._replica.lock:
            index = self._replica.state.kinds.get(kind)
            return index.next_due(self.clock()) if index is not None else None

    async def _records(self, rows: Sequence[Row | None]) -> list[Record | None]:
        bodies = await self._bodies([row for row in rows if row is not None])
        records: list[Record | None] = []
        for row in rows:
            if row is None or row.blob is None:
                records.append(None if row is None else record_of(row))
            elif (body := bodies.get(row.blob)) is not None:
                records.append(record_of(row, body))
            else:
                records.append(await self._read_again(row))
        return records

    async def _bodies(self, rows: Sequence[Row]) -> dict[str, bytes]:
        """The large bodies of some rows, those that are there."""
        names = list({row.blob for row in rows if row.blob is not None})
        if not names or self._log is None:
            return {}
        found = await self._log.get_all(names)
        return {name: body for name, body in zip(names, found, strict=True) if body is not None}

    async def _read_again(self, row: Row) -> Record | None:
        """A record whose body was not there: it has been replaced meanwhile, or its body was deleted by hand."""
        for _ in range(_BODY_TRIES):
            log = self._opened()
            await log.refresh()
            with self._replica.lock:
                there = self._replica.state.find(row.kind, row.key)
            if there is None or there.blob is None:
                return None if there is None else record_of(there)
            if there.blob == row.blob:
                break
            row = there
            if (body := (await self._bodies([row])).get(there.blob)) is not None:
                return record_of(row, body)
        raise StoreCorruptError(self.url, f"the object {row.blob} is missing, with the body of {row.kind} {row.key!r}")

    # --- events ---

    async def query(self, match: EventFilter) -> Columns:
        self._opened()
        return await self._events.query(match)

    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        self._opened()
        return await self._events.end(latest)

    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        self._opened()
        return await self._events.read(position, limit)

    async def trim_log(self, before: int) -> int:
        self._opened()
        trimmed, end = await self._events.count_before(before)
        if trimmed:
            with self._replica.lock:
                segments = {segment.name for segment in self._replica.state.segments}
            await self._commits.submit(Note(trim=Trim(before, end)))
            with self._replica.lock:
                segments -= {segment.name for segment in self._replica.state.segments}
            self._upkeep.delete_soon(segments)
        return trimmed


def _query_of(url: str) -> tuple[str, bool]:
    """Namespace, and whether to create the bucket."""
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    for name in query.keys() - {"namespace", "create"}:
        raise ConfigError(f"unknown part {name!r} in the store's URL: the parts are namespace and create")
    namespace = query.get("namespace", ["omniq"])[-1]
    if not namespace or "/" in namespace:
        raise ConfigError(f"the namespace {namespace!r} must be a name without slashes")
    create = query.get("create", ["false"])[-1]
    if create not in ("true", "false"):
        raise ConfigError(f"create={create} in the store's URL must be true or false")
    return namespace, create == "true"


def _share(request: Request) -> float:
    if isinstance(request, Note):
        return 0.6  # one at most in a commit
    return (len(request.ops) if isinstance(request, Write) else 1) / _OPS_PER_COMMIT
