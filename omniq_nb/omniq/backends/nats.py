"""NATS JetStream: the store is one stream, a log of transactions, and every process keeps what the log leads to.

**What is written.** Each transaction is one message of the stream ``OMNIQ_<namespace>``: the operations of all calls
that were waiting (group commit), claims included. Nobody computes their outcome but the order of the log itself: every
process applies every transaction, in that order, to a replica in its memory, by rules that depend on nothing else
(`nats_replica`), and so all come to the same state. An operation names the version that it rests on, as everywhere in
OmniQ; whether that version stood is decided by what stands before it in the log. So a fence never fails for a race that
was lost on the way, batches are atomic, claims are exact in their order, however many claimers there are, and nothing
is ever tried again because of a conflict. A claim's moment is the server's, which each message carries.

**What lies where.** The replica has the records' columns, their bodies up to 16 kB, and where the events lie. Events
stay in the log, and are read from there. Larger bodies, and snapshots of the replica, which save a newcomer from
reading the log from its beginning, are in the stream ``OMNIQ_<namespace>_ASIDE``. What a snapshot covers is deleted
from the log, as far as there are no events in it: so a log is as long as its events are kept (``event_retention``).

**What it costs.** A call that writes, or a claim that finds something, is one round trip, together with all that was
called while the last one was under way; one message of up to 512 kB takes some thousand tasks. So a task costs, alone,
one round trip each to be enqueued, claimed and settled, and in batches a small part of one. Reads wait for the replica
to reach the log's present end, which is one round trip, and find everything in memory; a claim that finds nothing
writes nothing. In return each process, be it a worker, a notebook or a command, has all records in its memory (some
0.7 kB for each, and its body), reads a snapshot when it starts, and applies what all the others write. NATS fits where
millions of records are not kept for long and processes are counted in dozens; for more there is PostgreSQL.

**What is durable.** The stream is a file, replicated if ``replicas`` is given when it is made. JetStream's server
flushes it every two minutes unless its configuration says ``sync_interval: always``: without that, a machine that loses
power (not a server that crashes) loses what was acknowledged last. OmniQ can't choose it, so ``durability`` has no
effect. If a log has lost its end, every process notices when it connects again, and goes on from what the log says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import ClassVar, Self, TypeVar, Unpack

from ..clock import system_clock
from ..errors import NotOpenError, StoreCorruptError, StoreError, StoreUnavailableError
from ..models.event import TaskEvent
from ..models.record import Columns, EventFilter, Filter, Op, Page, Record
from ..storage.driver import NOT_STANDING, About, Capabilities, DriverSettings, Key, Position, Standing
from ..storage.endings import each_of
from ..storage.events import BaseEventStorage
from ..storage.group_commit import GroupCommit
from ..storage.queue import BaseTaskQueue
from ..storage.remote import RemoteDriver
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from ..storage.watch import Watcher, Watchers
from . import nats_events as log
from .nats_aside import INLINE
from .nats_claims import Claims
from .nats_connection import FOREIGN_ERRORS, namespace_of, servers_of, translate
from .nats_log import Names
from .nats_options import OPTIONS, checked
from .nats_replica import Outcome, Replica
from .nats_state import Shared
from .nats_store import Store
from .nats_turns import SharedTurns
from .nats_wire import Put, Request, Row, Swap, Take, Trim, encode_request, record_of, wire_op

_OPS_PER_TRANSACTION = 10_000
"""Bounds what is applied in one go."""

_T = TypeVar("_T")
_Encoded = tuple[Request, bytes]


class NATSDriver(RemoteDriver):
    """A namespace of a NATS server or cluster as a store.

    Args:
        url: ``nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?namespace=omniq]``; ``tls://`` likewise.
        clock: The machine's, unless a test passes its own.
        durability: Without effect: the server's ``sync_interval`` decides.
        options: ``replicas`` (1), ``storage`` (``"file"``), ``max_bytes`` and ``compression`` (``"none"``) of the
            streams, which count when they are made; ``timeout`` (5 seconds) for an answer; ``prefix`` of JetStream's
            API, for domains; ``snapshot_bytes``: how much log calls for a snapshot; ``token``, ``user_credentials``,
            ``nkeys_seed`` and ``tls`` as nats-py takes them.
        shared: What a clone shares with the driver that it is a clone of.
    """

    scheme: ClassVar[str] = "nats"
    about: ClassVar[About] = About(
        title="NATS JetStream",
        url="nats://localhost:4222",
        extra="nats",
        start="a server, version 2.10 or later: `nats-server -js`, with `sync_interval: always` where a loss of power "
        "must lose nothing",
        choose="many machines and quick answers, where NATS runs anyway",
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        atomic_batches=True, pushes=True, shared=True, durable=True, own_clock=True, hands_over=True
    )
    option_names: ClassVar[frozenset[str] | None] = OPTIONS
    foreign_errors: ClassVar[tuple[type[BaseException], ...]] = FOREIGN_ERRORS

    def __init__(self, url: str, *, shared: Shared | None = None, **settings: Unpack[DriverSettings]) -> None:
        super().__init__(url, **settings)
        self.options = checked(url, self.options)
        self._given_clock = self.clock
        if self.clock is system_clock:
            self.clock = self._server_clock
        self._names = Names.of(namespace_of(url))
        self._is_clone = shared is not None
        self._shared = shared or Shared()
        servers_of(url)
        self._open_store: Store | None = None
        self._closing = False
        self._commits = GroupCommit(
            self._send, share=lambda encoded: len(encoded[0]) / _OPS_PER_TRANSACTION, name="omniq-nats-writes"
        )
        self._catching_up = SharedTurns(self._catch_up_now)
        self._watchers = Watchers()
        self._claims = Claims(
            lambda: self._store, self.clock, self._submit, self._catch_up, self._claimed, self._watchers
        )

    def clone(self) -> Self:
        return type(self)(
            self.url, shared=self._shared, clock=self._given_clock, durability=self.durability, options=self.options
        )

    def translate(self, error: BaseException) -> StoreError:
        return translate(error, self.url)

    def _server_clock(self) -> int:
        """The server's clock, as far as this process can tell: due times and leases are measured by that one."""
        offset = self._open_store.offset if self._open_store is not None else 0
        return system_clock() + offset

    # --- life cycle ---

    async def _connect(self) -> None:
        if self._open_store is not None:
            return
        self._closing = False
        self._catching_up.begin()
        self._claims.opened()
        store = Store(
            self.url,
            self._names,
            self.options,
            self._shared,
            self._changed,
            self._claims.receive,
            follows=not self._is_clone,
        )
        try:
            await self.call(store.catch_up, repeat=True)
        except BaseException:
            await store.close()
            raise
        self._open_store = store

    async def _let_go(self) -> None:
        store = self._open_store
        if store is None:
            return
        self._closing = True
        try:
            await each_of(self._commits.finish, self._catching_up.finish, self._claims.finish, store.close)
        finally:
            self._open_store = None

    @property
    def _store(self) -> Store:
        if self._open_store is None or self._closing:
            raise NotOpenError(type(self).__name__)
        return self._open_store

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
        return await self.claim_or_stand(kind, partitions, owner, limit, lease, NOT_STANDING, excluding=excluding)

    async def claim_or_stand(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        lease: int,
        standing: Standing,
        *,
        excluding: Collection[str] = (),
    ) -> list[Record]:
        _ = self._store
        take = Take(
            kind, None if partitions is None else list(partitions), sorted(excluding), owner, limit, lease,
            None if self._given_clock is system_clock else self._given_clock(),
            lasts=standing.lasts if limit > 0 else 0, handed_lease=standing.lease,
        )  # fmt: skip
        return await self._claims.claim(take)

    async def _claimed(self, rows: Sequence[Row]) -> list[Record]:
        # They are the claimer's by now, whatever became of a body: whoever can't read the record settles it.
        return await self._records(self._store, rows, instead=b"")

    def handed_over(self, owner: str, limit: int) -> list[Record]:
        return self._claims.handed.take(owner, limit)

    async def end_standing(self, kind: str, owner: str | None = None) -> None:
        _ = self._store
        await self._claims.end_standing(kind, owner)

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        store = self._store
        if not ops:
            return []
        request: Request = [wire_op(op) for op in ops]
        for op in request:
            if isinstance(op, Put | Swap) and len(op.row.body) > INLINE:
                await self._put_aside(store, op.row)
        return [bool(outcome) for outcome in await self._submit(request)]

    async def _put_aside(self, store: Store, row: Row) -> None:
        body = row.body
        row.blob, row.body = await self.call(lambda: store.write_blob(body), repeat=True), b""

    def _submit(self, request: Request) -> asyncio.Future[list[Outcome]]:
        """Have a request written: at once, or with what else is waiting when the one under way is done."""
        _ = self._store
        try:
            encoded = encode_request(request)
        except (OverflowError, UnicodeEncodeError) as error:
            raise StoreError(self.url, f"a value is none that it can hold: {error}") from error
        return self._commits.submit((request, encoded))

    async def _send(self, group: list[_Encoded]) -> list[list[Outcome]]:
        store = self._open_store
        assert store is not None
        transaction = store.begin([request for request, _ in group], [encoded for _, encoded in group])
        try:
            # It may be repeated: the log takes it once.
            return await self.call(lambda: store.send(transaction), repeat=True)
        except StoreUnavailableError as error:
            error.sent = error.sent or transaction.is_sent  # the last of several tries may not have got that far
            raise
        finally:
            store.forget(transaction)

    # --- hints ---

    def watch(self, *, claimable: bool = False, others: bool = False) -> Watcher:
        return self._watchers.add(claimable=claimable, others=others)

    def _changed(self, claimable: bool, own: bool) -> None:  # noqa: FBT001 -- a callback
        self._watchers.notify(claimable=claimable, own=own)

    # --- reads ---

    async def _catch_up(self) -> None:
        """Wait until the replica has everything that was written before this call."""
        _ = self._store
        await self._catching_up.take()

    async def _catch_up_now(self) -> None:
        store = self._open_store
        assert store is not None
        await self.call(store.catch_up, repeat=True)

    async def _records(self, store: Store, rows: Sequence[Row], *, instead: bytes | None = None) -> list[Record]:
        """Records of the caller's own, their bodies fetched where those lie aside.

        Args:
            store: Where they lie.
            rows: The records.
            instead: The body of a record whose own is gone; ``None``: it must not be.
        """
        records = [record_of(row) for row in rows]
        apart = [(record, row.blob) for record, row in zip(records, rows, strict=True) if row.blob is not None]
        if apart:
            names = [name for _, name in apart]
            bodies = await self.call(lambda: store.read_blobs(names), repeat=True)
            for (record, _), body in zip(apart, bodies, strict=True):
                found = body if body is not None else instead
                if found is None:
                    raise _GoneError(record.kind, record.key)
                record.body = found
        return records

    async def _find(self, find: Callable[[Replica], Sequence[Row]]) -> list[Record]:
        """Look records up in the replica as it is now."""
        tries = 3
        while True:
            await self._catch_up()
            with self._store.state as replica:
                rows = find(replica)
            try:
                return await self._records(self._store, rows)
            except _GoneError as error:
                tries -= 1
                if not tries:  # else the record was replaced or deleted just now, perhaps
                    raise StoreCorruptError(self.url, str(error)) from error

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        there: list[bool] = []

        def find(replica: Replica) -> list[Row]:
            rows = [replica.row(key) for key in keys]
            there[:] = [row is not None for row in rows]
            return [row for row in rows if row is not None]

        found = iter(await self._find(find))
        return [next(found) if is_there else None for is_there in there]

    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        following: list[str | None] = [None]

        def find(replica: Replica) -> list[Row]:
            rows, following[0] = replica.shelf(match.kind).scan(match, cursor, limit)
            return rows

        return Page(await self._find(find), following[0])

    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        await self._catch_up()
        with self._store.state as replica:
            return replica.shelf(kind).count()

    async def next_due(self, kind: str) -> int | None:
        # As far as is known here: a hint is not worth a round trip.
        now = self.clock()
        with self._store.state as replica:
            return replica.shelf(kind).next_due(now)

    # --- events ---

    async def _ask(self, question: Callable[[Store], Awaitable[_T]]) -> _T:
        await self._catch_up()
        store = self._store
        return await self.call(lambda: question(store), repeat=True)

    async def query(self, match: EventFilter) -> Columns:
        return await self._ask(lambda store: log.query(store, match))

    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        events, place = await self._ask(lambda store: log.log_end(store, latest))
        return events, log.format_position(place)

    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        place = log.parse_position(position)
        events, place = await self._ask(lambda store: log.read_log(store, place, limit))
        return events, log.format_position(place)

    async def trim_log(self, before: int) -> int:
        await self._catch_up()
        store = self._store
        with store.state as replica:
            if not any(segment.low < before for segment in replica.segments.touching(None, before)):
                return 0
        partly = await self._ask(lambda store: log.count_before(store, before))
        (trimmed,) = await self._submit([Trim(before, partly)])
        await self.call(store.purge, repeat=True)
        assert isinstance(trimmed, int)
        return trimmed


class _GoneError(Exception):
    """A record's body is not where it was."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"the body of the {kind} {key!r} is gone")


class AsyncNATSQueue(BaseTaskQueue):
    """The task queue on NATS; the store is a ``nats://`` or ``tls://`` URL."""

    driver_class = NATSDriver


class AsyncNATSResultStorage(BaseResultStorage):
    """The results on NATS; the store is a ``nats://`` or ``tls://`` URL."""

    driver_class = NATSDriver


class AsyncNATSEventStorage(BaseEventStorage):
    """The events on NATS; the store is a ``nats://`` or ``tls://`` URL."""

    driver_class = NATSDriver


class AsyncNATSScheduleStorage(BaseScheduleStorage):
    """The schedules on NATS; the store is a ``nats://`` or ``tls://`` URL."""

    driver_class = NATSDriver
