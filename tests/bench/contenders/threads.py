"""concurrent.futures.ThreadPoolExecutor: the least that a notebook's user can take."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from .base import Pool, Store, noop


class Threads(Pool):
    package = "Python"
    results = "results in memory"
    delivery = "gone with the process"

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self.pool = ThreadPoolExecutor(2)

    async def run_all(self, indexes: Sequence[int]) -> None:
        for each in [self.pool.submit(noop, index) for index in indexes]:
            each.result()

    async def ask(self, index: int) -> object:
        return self.pool.submit(noop, index).result()

    async def close(self) -> None:
        self.pool.shutdown()


CONTENDER = Threads
