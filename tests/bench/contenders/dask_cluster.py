"""Dask's LocalCluster: one worker process with two threads."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import dask
from distributed import Client, LocalCluster

from .base import Pool, noop


class Dask(Pool):
    package = "distributed"
    results = "results in memory"
    delivery = "gone with the cluster"
    tasks = 2000
    probes = 100

    async def open(self) -> None:
        logging.disable(logging.ERROR)
        dask.config.set({"temporary-directory": str(self.store.directory)})
        cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None)
        self.client = Client(cluster)

    async def run_all(self, indexes: Sequence[int]) -> None:
        self.client.gather(self.client.map(noop, list(indexes), pure=False))

    async def ask(self, index: int) -> object:
        return self.client.submit(noop, index, pure=False).result()

    async def close(self) -> None:
        self.client.shutdown()


CONTENDER = Dask
