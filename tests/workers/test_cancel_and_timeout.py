"""A running task can be stopped: by whoever sent it, or by its own time limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from omniq import AsyncOmniQ, TaskCancelled, TaskFailed, TaskStateError, TaskStatus, WorkerType
from omniq.registry import Registered
from omniq.workers.executors import ThreadExecutor

KINDS = [WorkerType.ASYNC, WorkerType.THREAD_POOL]

_inside: list[str] = []
_release: list[threading.Event] = []


@pytest.fixture(autouse=True)
def inside() -> Iterator[list[str]]:
    """What the tasks below have come to; and threads that hang are let go afterwards."""
    _inside.clear()
    _release.append(threading.Event())
    yield _inside
    _release.pop().set()


async def hang() -> None:
    _inside.append("began")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        _inside.append("stopped")
        raise


def hang_in_thread() -> str:
    _inside.append("began")
    _release[-1].wait(60)
    _inside.append("ended")
    return "nobody waits for this"


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelling_stops_a_running_coroutine(
    app: AsyncOmniQ, until: Any, inside: list[str], kind: WorkerType
) -> None:
    async with app.workers(kind):
        handle = await app.task(hang).enqueue()
        await until(lambda: inside == ["began"])
        await handle.cancel()
        with pytest.raises(TaskCancelled):
            await handle
        await until(lambda: inside == ["began", "stopped"])
    task = await handle.task()
    assert (task.status, task.attempt, task.worker) == (TaskStatus.CANCELLED, 1, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled_plain_function_keeps_its_place_until_it_ends_and_its_outcome_does_not_count(
    app: AsyncOmniQ, until: Any, inside: list[str], kind: WorkerType
) -> None:
    @app.task
    async def one() -> int:
        return 1

    async with app.workers(kind, concurrency=1) as pool:
        handle = await app.task(hang_in_thread).enqueue()
        await until(lambda: inside == ["began"])
        await handle.cancel()
        await until(lambda: pool.abandoned == 1)
        waiting = await one.enqueue()
        await asyncio.sleep(0.1)
        assert await waiting.status() is TaskStatus.PENDING
        _release[-1].set()
        assert await waiting == 1
    assert await handle.status() is TaskStatus.CANCELLED
    assert (await app.events(task_id=handle.id))["event_type"].to_list()[-1] == "task.cancelled"


async def test_cancelling_from_another_app_stops_it_too(
    app: AsyncOmniQ, make_app: Any, until: Any, inside: list[str]
) -> None:
    async with app.workers():
        handle = await app.task(hang).enqueue()
        await until(lambda: inside == ["began"])
        await make_app().cancel_task(handle.id)
        await until(lambda: inside == ["began", "stopped"])


async def test_waiting_task_that_is_cancelled_never_runs(app: AsyncOmniQ, inside: list[str]) -> None:
    handle = await app.task(hang).enqueue()
    await handle.cancel()
    async with app.workers() as pool:
        await pool.drain()
    assert inside == []
    with pytest.raises(TaskCancelled):
        await handle


async def test_ended_task_cannot_be_cancelled(app: AsyncOmniQ) -> None:
    @app.task
    async def one() -> int:
        return 1

    async with app.workers():
        handle = await one.enqueue()
        await handle
        with pytest.raises(TaskStateError, match="can't cancel task .*: it is succeeded, and only a task that is"):
            await handle.cancel()


async def test_coroutine_that_swallows_its_cancellation_has_no_say(app: AsyncOmniQ, until: Any) -> None:
    @app.task
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    async with app.workers():
        handle = await stubborn.enqueue()

        async def runs() -> bool:
            return await handle.status() is TaskStatus.RUNNING

        await until(runs)
        await handle.cancel()
    assert await handle.status() is TaskStatus.CANCELLED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("func", [hang, hang_in_thread])
async def test_attempt_that_takes_longer_than_its_timeout_fails(
    app: AsyncOmniQ, kind: WorkerType, func: Any, inside: list[str]
) -> None:
    async with app.workers(kind, concurrency=2):
        handle = await app.task(func).options(timeout=0.05, max_retries=0).enqueue()
        with pytest.raises(TaskFailed, match=r"longer than its timeout of 0\.05 s") as failure:
            await handle
        assert failure.value.error_type.endswith("TaskTimeoutError")
        _release[-1].set()


async def test_timed_out_attempt_is_tried_again(app: AsyncOmniQ) -> None:
    seen = []

    @app.task(timeout=0.2, max_retries=3)
    async def slow_at_first() -> int:
        seen.append(1)
        if len(seen) == 1:
            await asyncio.Event().wait()
        return len(seen)

    async with app.workers():
        assert (await (await slow_at_first.enqueue()).wait()).attempt >= 2


async def test_timeout_error_of_the_task_s_own_is_its_own(app: AsyncOmniQ) -> None:
    @app.task(timeout=60, max_retries=0)
    async def own() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    async with app.workers():
        with pytest.raises(TaskFailed) as failure:
            await (await own.enqueue())
    assert failure.value.error_type == "TimeoutError"


@pytest.mark.parametrize("kind", KINDS)
async def test_task_that_cancels_itself_has_failed(app: AsyncOmniQ, kind: WorkerType) -> None:
    @app.task(max_retries=0)
    async def gives_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("had enough")
        await asyncio.sleep(0)

    async with app.workers(kind):
        with pytest.raises(TaskFailed, match="CancelledError: had enough"):
            await (await gives_up.enqueue())


def test_loop_that_ends_before_its_pool_leaves_the_task_to_the_next_worker(sqlite_url: str) -> None:
    async def run(work: Any) -> Any:
        async with AsyncOmniQ(sqlite_url, lease=0.5, poll_interval=0.1) as app:
            return await work(app)

    async def leave(app: AsyncOmniQ) -> str:
        await app.workers().start()
        handle = await app.task(hang).enqueue()
        while not _inside:
            await asyncio.sleep(0.01)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.05)
        app._pools.clear()
        return handle.id

    async def look(app: AsyncOmniQ) -> Any:
        return (await app.list_tasks()).tasks

    asyncio.run(run(leave))
    (task,) = asyncio.run(run(look))
    assert (task.status, task.error) == (TaskStatus.RUNNING, None)


async def test_a_thread_that_was_abandoned_closes_its_loop_when_it_ends(until: Any) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    may_end = threading.Event()

    async def block() -> None:
        loops.append(asyncio.get_running_loop())
        may_end.wait(60)

    executor = ThreadExecutor(1, lambda: None)
    running = asyncio.create_task(executor.run(Registered("block", block), [], {}))
    await until(lambda: loops)
    running.cancel()
    await asyncio.wait([running])
    executor.close()
    assert not loops[0].is_closed()
    may_end.set()
    await until(loops[0].is_closed)
