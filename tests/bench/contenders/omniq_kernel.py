"""OmniQ within one process, as a notebook's kernel has it: in memory, or on SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import omniq
from omniq import AsyncOmniQ, WorkerPool

from .base import Pool, Store
from .omniq_task import noop


class OmniQInKernel(Pool):
    package = "omniq-nb"
    results = "results stored, and three events for each task"
    delivery = "lease and fence: at least once, one accepted completion"

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        in_memory = name == "omniq-memory"
        self.durability = "gone with the process" if in_memory else "durability='normal'"
        self.app = AsyncOmniQ("memory://bench" if in_memory else f"sqlite:///{store.directory}/omniq.db")
        self._pool: WorkerPool | None = None

    async def open(self) -> None:
        await self.app.open()
        omniq.set_current(self.app)
        await self._start()

    async def _start(self) -> None:
        self._pool = await self.app.workers().start()

    async def close(self) -> None:
        await self.app.close()

    async def run_all(self, indexes: Sequence[int]) -> None:
        await (await noop.map(indexes))

    async def ask(self, index: int) -> object:
        return await (await noop.enqueue(index))

    async def drain(self, indexes: Sequence[int]) -> None:
        assert self._pool is not None
        await self._pool.stop()
        await noop.map(indexes)
        await asyncio.sleep(0.2)  # what the stop and the writing left behind is over
        await self._start()
        await self._pool.drain()


CONTENDER = OmniQInKernel
