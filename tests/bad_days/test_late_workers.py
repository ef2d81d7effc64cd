"""A worker that comes too late: what it computed does not count, and what it holds in time is not run twice."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    return sqlite_url


async def _suspend(worker: subprocess.Popen[str], store: Any, until: Any) -> None:
    """Suspend a worker, but not while it holds the write lock, which would suspend everybody."""

    def suspended() -> bool:
        worker.send_signal(signal.SIGSTOP)
        if store.can_write():
            return True
        worker.send_signal(signal.SIGCONT)
        return False

    await until(suspended)


@pytest.mark.parametrize("chore", ["wait_for", "wait_in_thread"])
async def test_suspended_worker_does_not_overwrite_the_new_owner_s_outcome(
    app: AsyncOmniQ, start_worker: Any, children: Any, store: Any, notes: Any, until: Any, tmp_path: Path, chore: str
) -> None:
    go = tmp_path / "go"
    handle = await app.enqueue(chore, args=(str(notes.path), 0, str(go)))
    first = start_worker("--queues", "default,first", lease=0.5)
    await until(notes.read)
    await _suspend(first, store, until)
    second = start_worker("--queues", "default", lease=0.5)
    # The first one may have begun twice: such a short lease ends before the first heartbeat on a machine that stalls.
    await until(lambda: notes.read()[-1] == (0, second.pid))
    go.touch()
    assert await handle.result(timeout=60) == second.pid
    settled = store.rows("SELECT state, claims, version, updated_at, body FROM records WHERE kind = 'task'")
    first.send_signal(signal.SIGCONT)
    # It lives and works, and has noticed.
    probe = await app.enqueue("step", args=(str(notes.path), 1, 0), queue="first")
    assert await probe.result(timeout=60) == 1
    first.send_signal(signal.SIGTERM)
    children.finish(first)
    unchanged = "SELECT state, claims, version, updated_at, body FROM records WHERE kind = 'task' AND key = ?"
    assert store.rows(unchanged, handle.id) == settled
    assert (await app.get_result(handle.id)).value == second.pid  # type: ignore[union-attr]
    store.assert_each_ended_once([handle.id, probe.id])


async def test_suspended_worker_goes_on_if_nobody_took_its_task(
    app: AsyncOmniQ, start_worker: Any, store: Any, notes: Any, until: Any, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    handle = await app.enqueue("wait_for", args=(str(notes.path), 0, str(go)))
    worker = start_worker(lease=0.5)
    await until(notes.read)
    await _suspend(worker, store, until)
    lease_ends = store.rows("SELECT due_at FROM records WHERE kind = 'task'")[0][0]
    await until(lambda: store.rows("SELECT strftime('%s') * 1000000 > ?", lease_ends + 1_000_000)[0][0])
    go.touch()
    worker.send_signal(signal.SIGCONT)
    assert await handle.result(timeout=60) == worker.pid


async def test_task_that_blocks_the_loop_for_longer_than_its_lease_runs_once(
    app: AsyncOmniQ, start_worker: Any, store: Any, notes: Any
) -> None:
    # More tasks than places, so that tasks are claimed while the loop is blocked too.
    workers = [start_worker("--concurrency", "2", lease=2.5) for _ in range(2)]
    handles = [await app.enqueue("block_loop", args=(str(notes.path), n, 4.0)) for n in range(6)]
    for handle in handles:
        assert await handle.result(timeout=100) in {worker.pid for worker in workers}
    assert Counter(n for n, _ in notes.read()) == Counter(range(6))
    store.assert_each_ended_once([handle.id for handle in handles])


async def test_late_completion_of_a_task_that_held_the_gil_is_refused(
    app: AsyncOmniQ, start_worker: Any, children: Any, store: Any, notes: Any, until: Any
) -> None:
    workers = {worker.pid: worker for worker in (start_worker(lease=0.5), start_worker(lease=0.5))}
    # No worker can send a heartbeat while the GIL is held: the other one takes the task, and its outcome counts.
    handle = await app.enqueue("hold_gil_once", args=(str(notes.path), 0, 5))
    value = await handle.result(timeout=60)
    holder, taker = (pid for _, pid in notes.read())
    assert holder != taker
    assert value == taker
    await until(lambda: "not accepted" in children.output_of(workers[holder]))
    for worker in workers.values():
        worker.send_signal(signal.SIGTERM)
        children.finish(worker)
    assert (await handle.task()).attempt == 2
    assert await handle == taker
    store.assert_each_ended_once([handle.id])


async def test_long_task_keeps_its_lease(app: AsyncOmniQ, start_worker: Any, notes: Any, until: Any) -> None:
    for _ in range(2):
        start_worker(lease=1)
    handle = await app.enqueue("step", args=(str(notes.path), 0, 3.5))
    assert await handle.result(timeout=60) == 0
    assert len(notes.read()) == 1
    assert (await handle.task()).attempt == 1
