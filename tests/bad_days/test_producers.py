"""The process that sends tasks dies, or there are many of them: what was accepted is there, and nobody sees a lock."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, TaskStatus

_PRODUCER = """
import asyncio, os, sys
from omniq import AsyncOmniQ

async def main(url, notes, accepted):
    out = os.open(accepted, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with AsyncOmniQ(url) as app:
        n = 0
        while True:
            handle = await app.enqueue("step", args=(notes, n, 0))
            os.write(out, f"{n} {handle.id}\\n".encode())
            n += 1

asyncio.run(main(*sys.argv[1:]))
"""

_WRITER = """
import asyncio, random, sys
from omniq import AsyncOmniQ, TaskNotFoundError, TaskStateError

async def main(url, seed, rounds):
    chance = random.Random(int(seed))
    async with AsyncOmniQ(url, poll_interval=0.1) as app:
        @app.task(name="nothing", queue=f"q{seed}")
        async def nothing(n): return n

        async def singles():
            for n in range(int(rounds)):
                await nothing.enqueue(n)

        async def batches():
            for n in range(int(rounds) // 10):
                await nothing.map(range(50))

        async def cancels():
            for n in range(int(rounds)):
                handle = await nothing.options(delay=chance.choice([None, 60])).enqueue(n)
                try:
                    await handle.cancel()
                except (TaskStateError, TaskNotFoundError):
                    pass  # it was faster, or was purged

        async def purges():
            for _ in range(int(rounds) // 10):
                await app.purge(status=("succeeded", "cancelled"))
                await app.stats()
                await app.list_tasks(status="pending", limit=20)
                await asyncio.sleep(0)

        async with app.workers(concurrency=10) as pool:
            await asyncio.gather(singles(), batches(), cancels(), purges())
            await pool.drain()

asyncio.run(main(*sys.argv[1:]))
print("done")
"""


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_tasks_of_a_killed_producer_go_on_and_a_new_process_sees_all_of_them(
    make_app: Any, start_worker: Any, children: Any, store: Any, notes: Any, until: Any, sqlite_url: str, tmp_path: Path
) -> None:
    worker, accepted = start_worker(), tmp_path / "accepted"
    producer = children.python("-c", _PRODUCER, sqlite_url, str(notes.path), str(accepted))
    await until(lambda: len(notes.read()) >= 100)
    producer.send_signal(signal.SIGKILL)
    producer.wait()
    sent = dict(line.split()[::-1] for line in accepted.read_text().splitlines())
    app: AsyncOmniQ = make_app()
    assert worker.poll() is None
    for task_id, n in sent.items():
        assert await app.handle(task_id).result(timeout=60) == int(n)
    # The last one may have been accepted without its sender's having lived to hear of it.
    stored = [key for (key,) in store.rows("SELECT key FROM records WHERE kind = 'task'")]
    assert len(set(stored) - set(sent)) <= 1
    for task_id in stored:
        await app.handle(task_id).result(timeout=60)
    store.assert_each_ended_once(stored)
    page = await app.list_tasks(status=TaskStatus.SUCCEEDED, limit=10_000)
    assert {task.id for task in page.tasks} == set(stored)
    assert len(await app.events(types="task.succeeded")) == len(stored)


async def test_no_lock_reaches_four_processes_that_write_at_once(children: Any, store: Any, sqlite_url: str) -> None:
    writers = [children.python("-c", _WRITER, sqlite_url, str(seed), "150") for seed in range(4)]
    for writer in writers:
        assert children.finish(writer).strip().endswith("done")
        assert "locked" not in children.output_of(writer)
        assert "ERROR" not in children.output_of(writer)
    assert set(store.states()) <= {"succeeded", "cancelled", "pending"}
    counted = dict(
        store.rows("SELECT state, sum(n) FROM counters WHERE kind = 'task' GROUP BY state HAVING sum(n) <> 0")
    )
    assert counted == store.states()
    assert store.rows("PRAGMA integrity_check") == [("ok",)]
    events = store.events()
    ended = len(events["task.succeeded"]) + len(events["task.cancelled"])
    assert len(events["task.enqueued"]) == ended + store.states().get("pending", 0) == 4 * (150 + 15 * 50 + 150)


async def test_new_store_can_be_opened_by_several_processes_at_the_same_moment(children: Any, sqlite_url: str) -> None:
    code = (
        "import asyncio, sys\n"
        "from omniq import AsyncOmniQ\n"
        "async def main():\n"
        "    async with AsyncOmniQ(sys.argv[1]) as app:\n"
        "        await app.enqueue('f')\n"
        "asyncio.run(main())\n"
    )
    openers = [children.python("-c", code, sqlite_url) for _ in range(6)]
    for opener in openers:
        children.finish(opener)
    async with AsyncOmniQ(sqlite_url) as app:
        assert (await app.stats()).totals == {"pending": 6}
