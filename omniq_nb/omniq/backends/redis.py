"""Redis (or Valkey), 7.0 or newer: a single server or a cluster, for any number of machines.

Everything that changes a store is one Lua script, so a batch of operations is carried out as a whole or not at all, and
is so in the append-only file and on replicas too. How much of what was accepted survives a crash is the server's
setting: with ``appendfsync always`` all of it, with ``everysec`` up to a second's work is lost in a power cut. A
replica that takes over may miss the last moments, as Redis replicates asynchronously: a task is then run once more.

What lies where (KIND is a kind of record; every key begins with ``omniq:{NAMESPACE}:``):

=============================== =======================================================================================
``records:KIND``                hash: key to record, one packed string (`redis_codec`)
``keys:KIND:PARTITION:STATE``   sorted set of keys: scans read it, and its length is the count
``groups:KIND``                 set: which of those there are
``ready:KIND:PARTITION``        sorted set of what can be claimed, in order of rank, creation and key
``partitions:KIND``             set: which of those there are
``later:KIND``                  sorted set of keys by due time: delayed records, and leases of running ones
``expiry:KIND``                 sorted set in order of expiry and key
``log``, ``log:N`` ...          the event log (`redis_log`)
``standing:KIND``               hash: owner to the claim that he has left standing
``call:WRITER``, ``claim:...``  what a driver's last call did, for ten minutes: a call whose answer was lost is sent
                                again, and not carried out twice
``meta``                        hash: the version of this scheme
=============================== =======================================================================================

The braces put a store's keys into one slot of a cluster. So a cluster spreads namespaces over its nodes, not the tasks
of one; in return claims keep their order and counts are exact. (Move a slot while nobody writes, or with a server that
moves it as a whole, as Valkey 9 does: scripts can't run while half of their keys have gone.)

Round trips: one for each enqueue, claim, settlement or heartbeat, however many tasks it concerns; none for what is
handed over: a worker that waits is told of its task by the script that adds it. Calls that are made while a write is
under way go into the next one together. A worker that drains a backlog needs about two for as many tasks as it runs at
a time: 0.02 for each task at a concurrency of 100.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import chain, islice
from typing import Any, ClassVar, Unpack

from redis.exceptions import RedisError

from ..clock import system_clock
from ..errors import (
    NotOpenError,
    StoreAlteredError,
    StoreError,
    ValueTooLargeError,
)
from ..masking import mask_url
from ..models.event import TaskEvent
from ..models.record import Columns, EventFilter, Filter, Op, Page, Record
from ..storage.driver import NOT_STANDING, About, Capabilities, DriverSettings, Key, Position, Standing
from ..storage.endings import each_of
from ..storage.events import BaseEventStorage
from ..storage.group_commit import GroupCommit
from ..storage.handed import HandedOver
from ..storage.parallel import in_parallel
from ..storage.queue import BaseTaskQueue
from ..storage.remote import RemoteDriver
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from ..storage.watch import Watcher, Watchers
from . import redis_log as log
from . import redis_read as reading
from . import redis_scripts as scripts
from .redis_calls import Calls
from .redis_clock import StoreClock
from .redis_codec import LARGEST, Batch, Packer, need_memory, read_moment, unpack_handed, unpack_record
from .redis_errors import translate
from .redis_link import Link
from .redis_listener import Listener
from .redis_place import Place
from .redis_server import prepare

logger = logging.getLogger("omniq")

_OPS_PER_BATCH = 50_000
"""A caller's batch beyond this is split: Redis takes a million arguments, and answers nobody meanwhile."""
_KEYS_PER_CALL = 5000
_OPS_PER_CALL = 5000
_BYTES_PER_CALL = 32_000_000
"""Callers' batches go together up to these bounds, so that no call holds the server up for long."""
_APPLIED = ord("1")


class RedisDriver(RemoteDriver):
    """A namespace of a Redis server or cluster as a store.

    Args:
        url: ``redis://[user:password@]host[:port][/database][?namespace=name]``; ``rediss`` for TLS;
            ``redis+cluster://host:port,host:port`` and ``rediss+cluster`` for a cluster. Other parameters are
            redis-py's.
        clock: The server's, unless a test passes its own.
        durability: Without effect: the server's configuration decides.
        options: For redis-py's connections.
    """

    scheme: ClassVar[str] = "redis"
    about: ClassVar[About] = About(
        title="Redis",
        url="redis://localhost:6379/0?namespace=omniq",
        extra="redis",
        start="a server (or Valkey), version 7.0 or later: redis-server --appendonly yes --maxmemory-policy noeviction",
        choose="several machines, many short tasks: the fastest of the shared stores",
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        atomic_batches=True, pushes=True, shared=True, durable=True, own_clock=True, hands_over=True
    )
    option_names: ClassVar[frozenset[str] | None] = None
    foreign_errors: ClassVar[tuple[type[BaseException], ...]] = (RedisError, OSError)

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        super().__init__(url, **settings)
        self._place = Place(url, self.options)
        if self.clock is system_clock:
            self.clock = StoreClock()
        self._calls: Calls | None = None
        self._closing = False
        self._watchers = Watchers(self._start_listening, self._stop_listening)
        self._handed = HandedOver()

    # --- life cycle ---

    async def _connect(self) -> None:
        if self._calls is not None:
            return
        link = Link(self._place)
        calls = Calls(link, self.clock, self.call, lambda: self.breaker.is_open)
        try:
            await self.call(lambda: prepare(link, self.url), repeat=True)
            await calls.read_timed(scripts.NEXT_DUE, "")  # so that the clock is right from the first task on
        except BaseException:
            await link.close()
            raise
        self._writes = self._claims = 0
        self._packer = Packer()
        # Where a worker settles and claims in one turn, the claim is to go first: then it works on meanwhile.
        self._commits = GroupCommit(
            self._send, share=_share, name="omniq-redis-writes", begin=self._begin, hurries=self._packer.is_addition
        )
        self._claiming = asyncio.Lock()
        self._listener = Listener(
            link, calls.writer, lambda claimable: self._watchers.notify(claimable=claimable, own=False), self._receive
        )
        self._closing, self._calls = False, calls

    async def _let_go(self) -> None:
        calls = self._calls
        if calls is None:
            return
        self._closing = True
        try:
            await each_of(self._commits.finish, self._listener.close, calls.link.close)
        finally:
            self._calls = None

    def translate(self, error: BaseException) -> StoreError:
        return translate(error, self.url)

    def _opened(self) -> Calls:
        if self._calls is None or self._closing:
            raise NotOpenError(type(self).__name__)
        return self._calls

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
        calls = self._opened()
        if partitions is None:
            every, names = "1", list(excluding)
        else:
            every, names = "0", [name for name in dict.fromkeys(partitions) if name not in excluding]
        if limit <= 0 or (partitions is not None and not names):
            return []
        if not self._listener.hears_what_is_handed:
            standing = NOT_STANDING  # there is a hint when it does
        elif standing.lasts:
            self._handed.await_for(owner)
        async with self._claiming:  # the server remembers one claim of each driver
            self._claims += 1
            found = await calls.run_once(
                scripts.CLAIM, self._claims, kind, owner, limit, lease, standing.lasts, standing.lease, every,
                *names,
            )  # fmt: skip
        return self._records(kind, found)

    def handed_over(self, owner: str, limit: int) -> list[Record]:
        return self._handed.take(owner, limit)

    def _receive(self, told: bytes) -> None:
        try:
            _, owner, records = unpack_handed(told)
        except ValueError as error:
            logger.error("the store %s: what was handed over can't be read: %s", mask_url(self.url), error)
            return
        self._handed.add(owner, records)
        self._watchers.notify(claimable=True, own=False)

    async def end_standing(self, kind: str, owner: str | None = None) -> None:
        link = self._opened().link
        standing = f"{self._place.prefix}standing:{kind}"
        command = ("DEL", standing) if owner is None else ("HDEL", standing, owner)
        await self.call(lambda: link.call(*command), repeat=True)

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        self._opened()
        outcomes: list[bool] = []
        for start in range(0, len(ops), _OPS_PER_BATCH):
            batch = self._packer.pack(ops[start : start + _OPS_PER_BATCH], outcomes)
            if batch.size > LARGEST and any(len(each) > LARGEST for each in batch.arguments):
                raise ValueTooLargeError(self.url, f"more than {LARGEST // 1_000_000} MB")
            outcomes += await self._commits.submit(batch)
        return outcomes

    async def _send(self, batches: list[Batch]) -> list[list[bool]]:
        return await self._begin(batches)()

    def _begin(self, batches: list[Batch]) -> Callable[[], Awaitable[list[list[bool]]]]:
        """Send a group of batches, if it can be sent at once; gives how to come to the outcomes."""
        calls = self._calls
        assert calls is not None
        self._writes += 1
        number, (script, *arguments) = self._writes, self._applying(batches)
        ahead = calls.send_ahead(script, number, *arguments)

        async def outcomes() -> list[list[bool]]:
            said, claimable = await calls.run_once(script, number, *arguments, ahead=ahead)
            self._watchers.notify(claimable=bool(claimable), own=True)
            each = iter(said)
            return [[applied == _APPLIED for applied in islice(each, batch.operations)] for batch in batches]

        return outcomes

    def _applying(self, batches: list[Batch]) -> tuple[Any, ...]:
        """The script that applies a group of batches, and its arguments."""
        first, kinds = batches[0], self._packer.kinds
        if len(batches) == 1 and self._packer.is_addition(first):
            return scripts.ADDITION, self._packer.kind_of(first), *first.arguments
        heads, arguments = b"".join([batch.heads for batch in batches]), [batch.arguments for batch in batches]
        script = scripts.WRITE if need_memory(heads) else scripts.WRITE_IN_FULL_MEMORY
        return script, heads, len(kinds), *kinds, *chain.from_iterable(arguments)

    # --- hints ---

    def watch(self, *, claimable: bool = False, others: bool = False) -> Watcher:
        self._opened()
        if not claimable:
            self._listener.hear_all_changes()
        return self._watchers.add(claimable=claimable, others=others)

    def _start_listening(self) -> None:
        self._listener.start()

    def _stop_listening(self) -> None:
        self._listener.stop()

    # --- reads ---

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        link = self._opened().link
        places: dict[str, list[int]] = {}
        for place, (kind, _) in enumerate(keys):
            places.setdefault(kind, []).append(place)
        steps = [
            (kind, its_places[start : start + _KEYS_PER_CALL])
            for kind, its_places in places.items()
            for start in range(0, len(its_places), _KEYS_PER_CALL)
        ]
        commands = [
            ("HMGET", f"{self._place.prefix}records:{kind}", *(keys[place][1] for place in step))
            for kind, step in steps
        ]
        # All are sent before the first is answered: one round trip.
        answers = await self.call(lambda: in_parallel(lambda each: link.call(*each), commands), repeat=True)
        found: list[Record | None] = [None] * len(keys)
        for (kind, step), values in zip(steps, answers, strict=True):
            for place, value in zip(step, values, strict=True):
                if value is not None:
                    found[place] = self._record(kind, keys[place][1], value)
        return found

    def _record(self, kind: str, key: str, value: bytes) -> Record:
        try:
            return unpack_record(kind, key, value)
        except ValueError as error:
            raise StoreAlteredError(self.url, str(error)) from error

    def _records(self, kind: str, keys_and_values: Sequence[bytes]) -> list[Record]:
        pairs = zip(keys_and_values[::2], keys_and_values[1::2], strict=True)
        return [self._record(kind, key.decode(), value) for key, value in pairs]

    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        after, found = await reading.scan(self._opened().read, match, cursor, limit)
        return Page(self._records(match.kind, found), after)

    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        return await reading.count(self._opened().read, kind)

    async def next_due(self, kind: str) -> int | None:
        (due_at,) = await self._opened().read_timed(scripts.NEXT_DUE, kind)
        return None if due_at is None else read_moment(due_at)

    # --- events ---

    async def query(self, match: EventFilter) -> Columns:
        return await log.query(self._opened().read, match)

    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        return await log.log_end(self._opened().read, latest)

    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        return await log.read_log(self._opened().read, position, limit)

    async def trim_log(self, before: int) -> int:
        return await log.trim_log(self._opened().read, before)


def _share(batch: Batch) -> float:
    return max(batch.operations / _OPS_PER_CALL, batch.size / _BYTES_PER_CALL)


class AsyncRedisQueue(BaseTaskQueue):
    """The task queue in Redis; the store is a ``redis://`` or ``redis+cluster://`` URL."""

    driver_class = RedisDriver


class AsyncRedisResultStorage(BaseResultStorage):
    """The results in Redis; the store is a ``redis://`` or ``redis+cluster://`` URL."""

    driver_class = RedisDriver


class AsyncRedisEventStorage(BaseEventStorage):
    """The events in Redis; the store is a ``redis://`` or ``redis+cluster://`` URL."""

    driver_class = RedisDriver


class AsyncRedisScheduleStorage(BaseScheduleStorage):
    """The schedules in Redis; the store is a ``redis://`` or ``redis+cluster://`` URL."""

    driver_class = RedisDriver
