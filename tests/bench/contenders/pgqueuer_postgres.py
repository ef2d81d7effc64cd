"""pgqueuer on PostgreSQL: no results, but a log of how tasks ended, by which a producer can wait for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
from harness.trace import mark
from pgqueuer import PgQueuer, Queries
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver

from .base import EACH_COMMIT, Queue, Store, run_quickly

_AT_A_TIME = 100
_CONNECTIONS = 10
_LOCK = 7


class Pgqueuer(Queue):
    package = "pgqueuer"
    results = "no results; how each task ended is logged"
    delivery = "taken again without heartbeats for 30 s: at least once"
    durability = EACH_COMMIT
    concurrent = bulk = True
    drained = 20_000

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self._closing = AsyncExitStack()
        self._pool: Any = None
        self._queries: Any = None
        self._watcher: CompletionWatcher | None = None

    async def open(self) -> None:
        pool = asyncpg.create_pool(self.store.url, min_size=2, max_size=_CONNECTIONS)
        self._pool = await self._closing.enter_async_context(pool)
        self._queries = Queries(AsyncpgPoolDriver(self._pool))
        async with self._pool.acquire() as connection:
            # A producer and a worker may come to a new database at the same time.
            await connection.execute(f"SELECT pg_advisory_lock({_LOCK})")
            if not await self._queries.schema_is_installed():
                await self._queries.install()
            await connection.execute(f"SELECT pg_advisory_unlock({_LOCK})")

    async def close(self) -> None:
        await self._closing.aclose()

    async def send(self, index: int) -> object:
        return await self._queries.enqueue("noop", _payload(index))

    async def send_many(self, indexes: Sequence[int]) -> None:
        count = len(indexes)
        await self._queries.enqueue(["noop"] * count, [_payload(index) for index in indexes], [0] * count)

    async def ask(self, index: int) -> object:
        if self._watcher is None:
            self._watcher = await self._watch()
        (identity,) = await self._queries.enqueue("noop", _payload(index))
        return await self._watcher.wait_for(identity)

    async def _watch(self) -> CompletionWatcher:
        # On a connection of its own: it keeps one for notifications, without which the pool would not close.
        connection = await asyncpg.connect(self.store.url)
        self._closing.push_async_callback(connection.close)
        watcher = CompletionWatcher(AsyncpgDriver(connection), queries=self._queries)
        return await self._closing.enter_async_context(watcher)

    def work(self) -> None:
        run_quickly(self._work())

    async def _work(self) -> None:
        await self.open()
        queuer = PgQueuer.from_asyncpg_pool(self._pool)
        queuer.entrypoint("noop")(_noop)
        await queuer.run(batch_size=_AT_A_TIME)


def _payload(index: int) -> bytes:
    return json.dumps({"i": index}).encode()


async def _noop(job: Any) -> None:
    mark(json.loads(job.payload)["i"])


CONTENDER = Pgqueuer
