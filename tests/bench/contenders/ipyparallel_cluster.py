"""ipyparallel: two engines, and a view that balances the load."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence

from .base import Pool, noop


class IPyParallel(Pool):
    package = "ipyparallel"
    results = "results in memory"
    delivery = "gone with the cluster"
    tasks = 1000
    probes = 100

    async def open(self) -> None:
        os.environ["IPYTHONDIR"] = str(self.store.directory / "ipython")
        import ipyparallel

        cluster = ipyparallel.Cluster(n=2, log_level=logging.CRITICAL)
        # It runs a loop of its own, so not on the one that runs here.
        self.client = await asyncio.to_thread(cluster.start_and_connect_sync)
        self.view = self.client.load_balanced_view()

    async def run_all(self, indexes: Sequence[int]) -> None:
        self.view.map_sync(noop, list(indexes))

    async def ask(self, index: int) -> object:
        return self.view.apply_sync(noop, index)

    async def close(self) -> None:
        await asyncio.to_thread(self.client.shutdown, hub=True)


CONTENDER = IPyParallel
