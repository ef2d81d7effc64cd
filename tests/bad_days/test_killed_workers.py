"""kill -9: nothing is lost, and no completion counts twice."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from omniq import AsyncOmniQ, TaskFailed, TaskStatus

_TASKS = 1000


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_a_thousand_tasks_outlive_their_workers(
    app: AsyncOmniQ, start_worker: Any, children: Any, store: Any, notes: Any, until: Any
) -> None:
    handles = [await app.enqueue("step", args=(str(notes.path), n, 0.02)) for n in range(_TASKS)]
    killed = set()
    for share in (0.15, 0.3, 0.45, 0.6, 0.75):
        first, second = start_worker("--concurrency", "20"), start_worker("--concurrency", "20", "--type", "thread")
        await until(lambda share=share: len(notes.read()) >= share * _TASKS)
        for worker in (first, second):
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            killed.add(worker.pid)
    children.finish(start_worker("--concurrency", "20", "--drain"))
    store.assert_each_ended_once([handle.id for handle in handles])
    began = [n for n, _ in notes.read()]
    assert set(began) == set(range(_TASKS)), "a task succeeded without having been run"
    assert len(began) > _TASKS, "no worker was killed in the middle of a task"
    assert {pid for _, pid in notes.read()} & killed
    assert await app.group(handles) == list(range(_TASKS))


async def test_task_that_kills_its_workers_ends_in_the_dead_letters(
    app: AsyncOmniQ, start_worker: Any, notes: Any
) -> None:
    poison = await app.enqueue("die", args=(str(notes.path), 0))
    for _ in range(3):
        worker = start_worker("--concurrency", "1", lease=0.5, OMNIQ_MAX_CLAIMS="3")
        assert worker.wait(60) == 9
    innocent = await app.enqueue("step", args=(str(notes.path), 1, 0))
    last = start_worker("--concurrency", "1", lease=0.5, OMNIQ_MAX_CLAIMS="3")
    with pytest.raises(TaskFailed, match="3 workers vanished while they ran this task") as failure:
        await poison.result(timeout=60)
    assert failure.value.error_type.endswith("WorkerLostError")
    assert await innocent.result(timeout=60) == 1
    assert [n for n, _ in notes.read()].count(0) == 3
    assert [task.id for task in (await app.dead_letters()).tasks] == [poison.id]
    assert last.poll() is None


async def test_worker_stopped_in_an_orderly_way_hands_its_tasks_back_at_once(
    app: AsyncOmniQ, start_worker: Any, notes: Any, until: Any, tmp_path: Any
) -> None:
    # The lease would last for an hour: who gets the task in this test gets it because it was handed back.
    go = tmp_path / "go"
    handles = [
        await app.enqueue("wait_for", args=(str(notes.path), 0, str(go))),
        await app.enqueue("wait_in_thread", args=(str(notes.path), 1, str(go))),
    ]
    first = start_worker("--grace", "0.1", lease=3600)
    await until(lambda: len(notes.read()) == 2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    assert [await handle.status() for handle in handles] == [TaskStatus.PENDING] * 2
    second = start_worker(lease=3600)
    await until(lambda: len(notes.read()) == 4)
    go.touch()
    for handle in handles:
        assert await handle.result(timeout=60) != first.pid
        assert (await handle.task()).attempt == 2
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 0


async def test_pipes_of_killed_workers_are_cleared_away(
    app: AsyncOmniQ, start_worker: Any, store: Any, notes: Any, until: Any
) -> None:
    bells = store.path.with_name(store.path.name + "-wake")
    worker = start_worker()
    await (await app.enqueue("step", args=(str(notes.path), 0, 0))).result(timeout=60)
    own = {name for name in os.listdir(bells) if name.startswith(str(worker.pid))}  # noqa: PTH208 -- names are all it takes
    assert own
    worker.kill()
    worker.wait()

    async def cleared() -> bool:
        await app.enqueue("step", args=(str(notes.path), 1, 0))
        return not own & set(os.listdir(bells))  # noqa: PTH208 -- names are all it takes

    await until(cleared)
