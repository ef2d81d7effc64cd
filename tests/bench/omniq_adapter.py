"""OmniQ as one of the queues that a side-by-side benchmark runs; see README.md here for the harness's interface.

The harness's `adapter` and `btrace` modules are on the path when it runs this file: `mark(i)` notes that task i
started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path

import omniq
from adapter import Adapter, run
from btrace import mark
from omniq import AsyncOmniQ

PATH = Path(os.environ["BENCH_URL"] + ".omniq") / "store.db"


@omniq.task
async def noop(i: int, tag: str) -> dict[str, int]:
    mark(i)
    return {"i": i}


class OmniQAdapter(Adapter):
    name = "omniq"
    is_async = True
    bulk_kind = os.environ.get("BENCH_BULK", "api")
    concs = (100, 300)
    results = "stored, with three events per task"
    delivery = "lease, fenced by version; at least once, one accepted completion"

    def setup(self) -> None:
        shutil.rmtree(PATH.parent, ignore_errors=True)

    def app(self) -> AsyncOmniQ:
        return AsyncOmniQ(f"sqlite:///{PATH}", durability=os.environ.get("BENCH_DURABILITY", "normal"))

    async def open(self) -> None:
        self.opened = self.app()
        omniq.set_current(self.opened)
        await self.opened.open()

    async def close(self) -> None:
        await self.opened.close()

    async def enqueue_one(self, i: int) -> None:
        await noop.enqueue(i, tag="x")

    async def enqueue_bulk(self, ids: range) -> None:
        await noop.map(ids, ["x"] * len(ids))

    async def enqueue_wait(self, i: int) -> object:
        return await (await noop.enqueue(i, tag="x"))

    async def worker(self, conc: int) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with self.app() as app, app.workers(concurrency=conc):
            await stop.wait()

    async def residual(self) -> dict[str, int]:
        async with self.app() as app:
            return (await app.stats()).totals


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        run(OmniQAdapter)
