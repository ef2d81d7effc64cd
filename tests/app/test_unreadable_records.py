"""A task's record that can't be read, changed by hand perhaps: nobody stumbles over it."""

from __future__ import annotations

from typing import Any

from omniq import AsyncOmniQ, TaskStatus
from omniq.models.record import Insert, Record


async def _put_rubbish(app: AsyncOmniQ, *, expires_at: int | None = None) -> None:
    driver = (await app._ready()).queue.driver
    now = driver.clock()
    rubbish = Record("task", "rubbish", "default", "pending", 0, now, None, 0, 1, now, now, expires_at, b"\xc1")
    assert await driver.write([Insert(rubbish)]) == [True]


async def test_lists_show_it_with_the_reason(make_app: Any) -> None:
    async with make_app() as app:
        await _put_rubbish(app)
        (task,) = (await app.list_tasks()).tasks
        assert (task.id, task.func, task.status) == ("rubbish", "?", TaskStatus.PENDING)
        assert "the task's record can't be read" in (task.error or "")


async def test_it_can_be_cancelled_and_purged(make_app: Any) -> None:
    async with make_app() as app:
        await _put_rubbish(app)
        assert (await app.cancel_task("rubbish")).status is TaskStatus.CANCELLED
        assert await app.purge() == 1


async def test_the_sweep_expires_it(make_app: Any, until: Any) -> None:
    async with make_app(heartbeat=0.2) as app:  # which looks whether a sweep is due
        await app.pause_queue("default")
        await _put_rubbish(app, expires_at=2)
        async with app.workers():
            await until(lambda: _is_expired(app))


async def _is_expired(app: AsyncOmniQ) -> bool:
    return (await app.get_task("rubbish")).status is TaskStatus.EXPIRED
