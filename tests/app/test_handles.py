"""Handles and groups: waiting for what becomes of tasks, however they end, and whoever runs them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from omniq import (
    AsyncOmniQ,
    OptionError,
    ResultTimeoutError,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskNotFoundError,
    TaskStateError,
    TaskStatus,
)
from omniq.backends.memory import MemoryDriver
from omniq.errors import NotOpenError, StoreCorruptError, StoreUnavailableError


@pytest.fixture
def tasks(app: AsyncOmniQ) -> Any:
    class Tasks:
        @staticmethod
        @app.task(name="double")
        async def double(n: int) -> int:
            return 2 * n

        @staticmethod
        @app.task(name="fail_odd", max_retries=0)
        async def fail_odd(n: int) -> int:
            if n % 2:
                raise ValueError(f"{n} is odd")
            return n

    return Tasks


async def test_result_tells_value_attempt_worker_and_times(app: AsyncOmniQ, tasks: Any) -> None:
    handle = await app.enqueue("double", args=(4,))
    assert await app.get_result(handle.id) is None
    async with app.workers() as pool:
        result = await handle.wait()
    assert (result.task_id, result.status, result.value, result.attempt) == (handle.id, TaskStatus.SUCCEEDED, 8, 1)
    assert (result.worker, result.error, result.traceback) == (pool.id, None, None)
    assert result.started_at is not None
    assert result.finished_at is not None
    assert result.started_at <= result.finished_at
    assert result.duration is not None
    assert await app.get_result(handle.id) == result


async def test_failure_carries_type_text_and_the_worker_s_traceback(app: AsyncOmniQ, tasks: Any) -> None:
    handle = await app.enqueue("fail_odd", args=(3,))
    async with app.workers():
        with pytest.raises(TaskFailed, match="ValueError: 3 is odd") as failure:
            await handle
    assert (failure.value.task_id, failure.value.error_type, failure.value.error) == (
        handle.id,
        "ValueError",
        "3 is odd",
    )
    assert 'raise ValueError(f"{n} is odd")' in failure.value.remote_traceback
    assert "Traceback on the worker" in str(failure.value)
    assert (await handle.wait()).status is TaskStatus.FAILED


async def test_handle_of_a_task_that_was_sent_elsewhere_works_the_same(
    app: AsyncOmniQ, make_app: Any, tasks: Any
) -> None:
    other = make_app()
    handle = other.handle((await app.enqueue("double", args=(4,))).id)
    waiting = asyncio.ensure_future(handle.result())
    async with app.workers():
        assert await waiting == 8


async def test_many_may_wait_for_one_task(app: AsyncOmniQ, tasks: Any) -> None:
    handle = await app.enqueue("double", args=(4,))
    waiting = [asyncio.ensure_future(handle.result()) for _ in range(50)]
    waiting[0].cancel()
    async with app.workers():
        assert await asyncio.gather(*waiting[1:]) == [8] * 49
        assert await handle == 8


async def test_waiting_has_a_limit_and_the_task_goes_on(app: AsyncOmniQ, tasks: Any) -> None:
    handle = await app.enqueue("double", args=(4,))
    with pytest.raises(ResultTimeoutError, match=r"has no result after 0\.01 s \(it is pending\); it goes on"):
        await handle.result(timeout=timedelta(seconds=0.01))
    with pytest.raises(ResultTimeoutError):
        await handle.wait(timeout=0)
    async with app.workers():
        assert await handle.result(timeout=60) == 8


async def test_result_that_is_there_needs_no_time(app: AsyncOmniQ, tasks: Any) -> None:
    handle = await app.enqueue("double", args=(4,))
    async with app.workers():
        await handle
    assert await handle.result(timeout=0) == 8
    with pytest.raises(TaskNotFoundError):
        await app.handle("nothing").result(timeout=0)


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan")])
async def test_impossible_limit_is_refused(app: AsyncOmniQ, tasks: Any, timeout: Any) -> None:
    handle = await app.enqueue("double", args=(4,))
    with pytest.raises(OptionError, match="timeout must be"):
        await handle.result(timeout)


async def test_waiting_ends_also_when_a_task_is_cancelled_expires_or_is_purged(app: AsyncOmniQ, tasks: Any) -> None:
    cancelled = await app.enqueue("double", args=(1,), delay=3600)
    purged = await app.enqueue("double", args=(1,), delay=3600, queue="purged")
    expired = await app.enqueue("double", args=(1,), ttl=0.001)
    waiting = [asyncio.ensure_future(handle.result()) for handle in (cancelled, purged, expired)]
    await asyncio.sleep(0.05)
    await cancelled.cancel()
    await app.purge(queue="purged", status="pending")
    async with app.workers():
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TaskCancelled, TaskNotFoundError, TaskExpired]


async def test_unknown_task_is_not_found(app: AsyncOmniQ) -> None:
    handle = app.handle("0" * 32)
    for call in (handle.result, handle.wait, handle.status, handle.cancel, handle.retry):
        with pytest.raises(TaskNotFoundError, match="no task '0000"):
            await call()
    with pytest.raises(TaskNotFoundError):
        await app.get_result(handle.id)


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
@pytest.mark.parametrize("error", [StoreCorruptError("memory://x"), RuntimeError("a bug of ours")])
async def test_whoever_waits_hears_of_an_error_of_the_store(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    handle = await app.enqueue("f", delay=3600)
    waiting = [asyncio.ensure_future(handle.result()) for _ in range(3)]
    await asyncio.sleep(0.05)

    async def fail(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(MemoryDriver, "get", fail)
        outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
    assert outcomes == [error] * 3
    with pytest.raises(ResultTimeoutError):
        await handle.result(timeout=0.01)


async def test_closing_the_app_ends_the_waiting_with_a_reason(app: AsyncOmniQ) -> None:
    waiting = asyncio.ensure_future((await app.enqueue("f", delay=3600)).result())
    await asyncio.sleep(0)
    await app.close()
    with pytest.raises(NotOpenError):
        await waiting


# --- groups ---


async def test_group_gives_results_in_order(app: AsyncOmniQ, tasks: Any) -> None:
    group = await tasks.double.map(range(20))
    async with app.workers():
        assert await group == [2 * n for n in range(20)]
    assert await app.group([]) == []


async def test_group_raises_the_first_error_and_the_others_go_on(app: AsyncOmniQ, tasks: Any) -> None:
    group = await tasks.fail_odd.map([0, 1, 2])
    async with app.workers():
        with pytest.raises(TaskFailed, match="1 is odd"):
            await group
        settled = await group.settled()
    assert settled[0] == 0
    assert settled[2] == 2
    assert isinstance(settled[1], TaskFailed)


async def test_group_has_a_limit_too(app: AsyncOmniQ, tasks: Any) -> None:
    group = await tasks.double.map([1, 2])
    with pytest.raises(ResultTimeoutError):
        await group.results(timeout=0.01)
    with pytest.raises(ResultTimeoutError):
        await group.settled(timeout=0.01)


async def test_group_gives_handles_as_their_tasks_end(app: AsyncOmniQ, tasks: Any) -> None:
    group = await tasks.fail_odd.map(range(10))
    async with app.workers():
        ended = [handle.id async for handle in group.as_completed()]
    assert sorted(ended) == sorted(group.ids)


async def test_group_tells_its_progress_and_retries_what_failed(app: AsyncOmniQ) -> None:
    broken = [True]

    @app.task(max_retries=0)
    async def work(n: int, broken: bool) -> int:
        if broken and n % 2:
            raise ValueError
        return n

    group = await work.map(range(6), [broken[0]] * 6)
    progress = await group.progress()
    assert (progress.total, progress.done, progress.counts) == (6, 0, {TaskStatus.PENDING: 6})
    async with app.workers():
        await group.settled()
        progress = await group.progress()
        assert (progress.done, progress.failed) == (6, 3)
        assert await group.retry_failed() == 3
        assert len([outcome for outcome in await group.settled() if isinstance(outcome, TaskFailed)]) == 3
    assert [(await handle.task()).attempt for handle in group] == [1, 2, 1, 2, 1, 2]


async def test_group_cancels_what_has_not_ended(app: AsyncOmniQ, tasks: Any) -> None:
    group = await tasks.double.map(range(5))
    await group[0].cancel()
    assert await group.cancel() == 4
    assert await group.cancel() == 0
    assert (await group.progress()).counts == {TaskStatus.CANCELLED: 5}


async def test_group_is_a_sequence(app: AsyncOmniQ, tasks: Any) -> None:
    group = await tasks.double.map(range(5))
    assert [handle.id for handle in group] == group.ids
    assert group[1:3].ids == group.ids[1:3]
    assert group[-1].id == group.ids[-1]
    assert "5" in repr(group)


async def test_retry_brings_a_task_back_with_all_its_retries(app: AsyncOmniQ) -> None:
    @app.task(max_retries=1)
    async def fail() -> None:
        raise ValueError

    async with app.workers():
        handle = await fail.enqueue()
        assert (await handle.wait()).attempt == 2
        with pytest.raises(TaskStateError, match="cancel"):
            await handle.cancel()
        await handle.retry()
        assert (await handle.wait()).attempt == 4


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
async def test_whoever_waits_goes_on_waiting_while_the_store_is_away(
    app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    async def one() -> int:
        return 1

    handle = await one.enqueue()
    waiting = asyncio.ensure_future(handle.result())
    await asyncio.sleep(0.05)

    async def fail(*_: Any) -> Any:
        raise StoreUnavailableError("memory://x")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryDriver, "get", fail)
        await asyncio.sleep(1.5)
    async with app.workers():
        assert await asyncio.wait_for(waiting, 60) == 1
    assert caplog.text.count("awaited results have to wait for their store") == 1
