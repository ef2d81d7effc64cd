"""A worker's memory stays flat. (The benchmarks look at 200,000 tasks; this is to notice a leak early.)"""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ

_SUPPORT = Path(__file__).parent / "support"


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_thousands_of_tasks_leave_nothing_behind_in_the_worker(app: AsyncOmniQ, kind: str) -> None:
    @app.task(max_retries=1)
    async def work(n: int) -> list[int]:
        if n % 10 == 0:
            raise ValueError(n)
        return [n] * 20

    async with app.workers(kind, concurrency=20) as pool:

        async def run(n: int) -> int:
            await (await work.map(range(n))).settled()
            await pool.drain()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            await run(700)  # caches fill, and tables grow to what so many tasks need
            # What is under way at that moment, a heartbeat's look perhaps, comes and goes; a leak is in the least too.
            before = min([await run(700) for _ in range(3)])
            after = min([await run(700) for _ in range(3)])
        finally:
            tracemalloc.stop()
    # What threads hold comes and goes by up to 90 kB; 70 bytes a task would be more.
    assert after - before < 145_000


async def test_worker_process_stays_flat(app: AsyncOmniQ, children: Any, sqlite_url: str, tmp_path: Any) -> None:
    psutil = pytest.importorskip("psutil")
    worker = children.worker(sqlite_url, "--import", "chores", "--concurrency", "50", cwd=_SUPPORT)
    process = psutil.Process(worker.pid)

    async def run(n: int) -> int:
        group = [await app.enqueue("nothing") for _ in range(n)]
        await app.group(group).results(timeout=100)
        return int(process.memory_info().rss)

    await run(700)
    before = await run(700)
    after = [await run(700) for _ in range(3)][-1]
    assert after - before < 5_000_000
