"""Whole queues: names, figures, pause, move, purge; and functions that are routed to queues."""

from __future__ import annotations

from typing import Any

import pytest
from omniq import AsyncOmniQ, ConfigError, OptionError, TaskStatus


async def test_names_are_those_with_tasks_and_those_that_are_paused(app: AsyncOmniQ) -> None:
    assert await app.queues.names() == []
    await app.enqueue("f", queue="b")
    await app.queues.pause("a")
    assert await app.queues.names() == ["a", "b"]


async def test_stats_of_one_queue(app: AsyncOmniQ) -> None:
    @app.task(queue="io", max_retries=0)
    async def work(fails: bool) -> None:
        if fails:
            raise ValueError

    await work.map([False, False, True])
    await app.enqueue("work", queue="other")
    async with app.workers(queues=["io"]) as pool:
        await pool.drain()
    waiting = await work.enqueue(False)
    stats = await app.queues.stats("io")
    assert stats.counts == {TaskStatus.SUCCEEDED: 2, TaskStatus.FAILED: 1, TaskStatus.PENDING: 1}
    assert (stats.ended, stats.failed, stats.paused) == (3, 1, False)
    assert stats.per_second == 3 / 300
    assert stats.mean_duration is not None
    assert stats.oldest == (await waiting.task()).created_at
    assert (await app.queues.stats("nobody")).oldest is None


async def test_waiting_tasks_move_and_running_ones_stay(app: AsyncOmniQ, until: Any) -> None:
    release: list[bool] = []

    @app.task(queue="slow")
    async def work() -> str:
        await until(lambda: release)
        return "done"

    async with app.workers(queues=["slow"], concurrency=1):
        running = await work.enqueue()
        await until(lambda: _is_running(running))
        first = await work.options(priority=1).enqueue()
        second = await work.options(priority=9).enqueue()
        assert await app.queues.move("slow", "fast") == 2
        assert await app.queues.move("slow", "fast") == 0
        assert [(await each.task()).queue for each in (running, first, second)] == ["slow", "fast", "fast"]
        release.append(True)
        assert await running == "done"
        assert await first.status() is TaskStatus.PENDING
        async with app.workers(queues=["fast"], concurrency=1):
            assert [await first, await second] == ["done", "done"]
    # Priority holds in the new queue, and the history says what happened.
    ended = (await app.events(queue="fast", types="task.succeeded"))["task_id"].to_list()
    assert ended == [second.id, first.id]
    assert (await app.events(types="task.moved"))["queue"].to_list() == ["fast", "fast"]


async def _is_running(handle: Any) -> bool:
    return await handle.status() is TaskStatus.RUNNING


async def test_purge_deletes_of_one_queue_what_it_is_asked_to(app: AsyncOmniQ) -> None:
    for queue in ("a", "b"):
        cancelled = await app.enqueue("f", queue=queue)
        await cancelled.cancel()
        await app.enqueue("f", queue=queue)
    assert await app.queues.purge("a") == 1, "what waits, or failed, is not purged unless one says so"
    assert await app.queues.purge("a", status=[]) == 0
    assert await app.queues.purge("a", status="pending") == 1
    assert await app.queues.names() == ["b"]
    with pytest.raises(OptionError, match="running tasks can't be purged"):
        await app.queues.purge("b", status=[TaskStatus.RUNNING])


async def test_functions_are_routed_to_queues(make_app: Any) -> None:
    app = make_app(routes={"report_*": "slow", "*_mail": "mail"}, default_queue="rest")

    @app.task
    async def report_sales() -> None: ...

    @app.task(queue="own")
    async def report_own() -> None: ...

    assert (await (await report_sales.enqueue()).task()).queue == "slow"
    assert (await (await report_own.enqueue()).task()).queue == "own"
    assert (await (await app.enqueue("send_mail")).task()).queue == "mail"
    assert (await (await app.enqueue("other")).task()).queue == "rest"
    assert (await (await app.enqueue("send_mail", queue="x")).task()).queue == "x"


# --- settings while the app runs ---


async def test_settings_change_while_the_app_runs(app: AsyncOmniQ) -> None:
    @app.task
    async def work() -> None: ...

    await work.enqueue()
    app.configure(default_queue="new", max_retries=7, poll_interval="2s", max_claims=2)
    task = await (await work.enqueue()).task()
    assert (task.queue, task.max_retries) == ("new", 7)
    assert app.config.poll_interval == 2
    with pytest.raises(ConfigError, match="queue can't be changed while the app is open"):
        app.configure(queue="memory://other")
    with pytest.raises(ConfigError, match="lease must be a number of seconds above 0"):
        app.configure(lease=0)
    assert app.config.default_queue == "new"


async def test_stores_may_change_before_the_app_is_opened(make_app: Any, sqlite_url: str) -> None:
    app = make_app()
    app.configure(url=sqlite_url)
    await app.enqueue("f")
    async with AsyncOmniQ(sqlite_url) as other:
        assert len((await other.list_tasks()).tasks) == 1


# --- health ---


async def test_health_of_an_open_app(app: AsyncOmniQ) -> None:
    health = await app.health()
    assert health.ok
    assert [each.component for each in health.components] == ["queue", "results", "events", "schedules"]
    assert all(each.latency is not None for each in health.components)


async def test_health_says_what_is_wrong_and_raises_nothing(sqlite_url: str, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("no directory")
    app = AsyncOmniQ(sqlite_url, results=f"sqlite:///{tmp_path}/file/x.db", events="redisse://u:hunter2@h")
    health = await app.health()
    assert not health.ok
    queue, results, events, _ = health.components
    assert queue.error is None
    assert "can't" in (results.error or "")
    assert "no backend for 'redisse://u:***@h'" in (events.error or "")
    assert "hunter2" not in repr(health)
    assert not app.is_open
