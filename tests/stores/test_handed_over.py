"""Tasks that a store hands over to workers that wait: begun at once, held like any other, and never for long by a
worker that does not look.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, TaskStatus
from omniq.backends.nats import NATSDriver
from omniq.backends.redis import RedisDriver
from omniq.models.record import Record
from omniq.models.task import TASK
from omniq.storage.driver import Driver
from omniq.storage.handed import HandedOver
from omniq.storage.queue import HANDED_LEASE
from omniq.workers.heartbeat import Heartbeat

from .conftest import URLS


@pytest.fixture(params=["redis", "nats", "redis-cluster", "nats-cluster"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind that hands over."""
    return URLS[request.param](tmp_path)


@pytest.fixture
async def app(make_app: Any, url: str) -> AsyncOmniQ:
    # No test may find by polling what should have come by itself.
    app: AsyncOmniQ = make_app(url, poll_interval=100)
    await app.open()
    return app


@pytest.fixture
async def driver(app: AsyncOmniQ) -> Driver:
    return (await app._ready()).queue.driver


async def _standing(driver: Driver) -> int:
    """How many workers' claims stand."""
    if isinstance(driver, RedisDriver):
        found: int = await driver._opened().link.call("HLEN", f"{driver._place.prefix}standing:{TASK}")
        return found
    assert isinstance(driver, NATSDriver)
    await driver.get([])  # it knows then what the others have written
    return len(driver._store.state.replica.standing)


async def _read(driver: Driver, task_id: str) -> Record:
    (record,) = await driver.get([(TASK, task_id)])
    assert record is not None
    return record


def _lease(record: Record) -> int:
    return (record.due_at or 0) - record.updated_at


async def test_handed_task_gets_its_full_lease_by_a_heartbeat(app: AsyncOmniQ, driver: Driver, until: Any) -> None:
    began, may_end = list[str](), list[str]()

    @app.task
    async def hold(name: str) -> None:
        began.append(name)
        while name not in may_end:
            await asyncio.sleep(0.02)

    async def was_extended() -> bool:
        record = await _read(driver, handle.id)
        assert (record.state, record.claims) == ("running", 1)
        return _lease(record) > HANDED_LEASE

    async with app.workers():
        was_handed_over = False
        for n in range(100):
            await until(lambda: _standing(driver))
            handle = await hold.enqueue(str(n))
            await until(lambda: began[-1:] == [str(n)])  # noqa: B023 -- called at once
            was_handed_over = not await was_extended()
            if was_handed_over:
                await until(was_extended)
            may_end.append(str(n))
            await handle
            if was_handed_over:
                break
        assert was_handed_over


async def test_what_was_handed_to_a_suspended_worker_is_run_by_another_one(
    app: AsyncOmniQ, driver: Driver, url: str, children: Any, until: Any, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"

    @app.task
    async def run(name: str) -> int:
        with runs.open("a") as file:
            print(name, os.getpid(), file=file)
        return os.getpid()

    worker = children.worker(url)
    assert await (await run.enqueue("warm-up")) == worker.pid
    await until(lambda: _standing(driver))
    worker.send_signal(signal.SIGSTOP)
    handle = await run.enqueue("handed over")
    record = await _read(driver, handle.id)
    assert (record.state, _lease(record)) == ("running", HANDED_LEASE)
    async with app.workers():
        assert await handle == os.getpid()
    worker.send_signal(signal.SIGCONT)
    assert await (await run.enqueue("afterwards")) == worker.pid
    lines = runs.read_text().splitlines()
    assert lines == [f"warm-up {worker.pid}", f"handed over {os.getpid()}", f"afterwards {worker.pid}"]
    assert (await handle.task()).attempt == 2
    assert await handle == os.getpid()


async def test_worker_that_stops_holds_nothing(app: AsyncOmniQ, driver: Driver, make_app: Any, url: str) -> None:
    sender: AsyncOmniQ = make_app(url)

    @sender.task
    async def one() -> int:
        return 1

    async def waits() -> None:
        while not await _standing(driver):
            await asyncio.sleep(0.01)

    app.registry.add("one", one.func, options={})
    for _ in range(10):
        async with asyncio.timeout(60), app.workers():
            await waits()
            # The worker stops while a task is on its way to it.
            await app.enqueue("one")
        assert await _standing(driver) == 0
        # What came later than the stop goes with the end of its lease.
        assert (await app.stats()).totals.get("running", 0) == 0
    async with asyncio.timeout(60), app.workers() as pool:
        await pool.drain()
    assert (await app.stats()).totals == {"succeeded": 10}


async def test_paused_queue_s_tasks_are_not_handed_over(
    app: AsyncOmniQ, driver: Driver, make_app: Any, url: str, until: Any
) -> None:
    other: AsyncOmniQ = make_app(url)

    @app.task(queue="io")
    async def one() -> int:
        return 1

    @app.task(queue="open")
    async def two() -> int:
        return 2

    async with app.workers():
        await until(lambda: _standing(driver))
        await other.pause_queue("io")
        await asyncio.sleep(0.6)  # within a second, workers have noticed
        await until(lambda: _standing(driver))
        handle = await one.enqueue()
        assert await (await two.enqueue()) == 2
        assert await handle.status() is TaskStatus.PENDING
        await other.resume_queue("io")
        assert await handle == 1


async def test_nothing_is_handed_to_a_worker_whose_heartbeat_is_not_there_yet(
    app: AsyncOmniQ, driver: Driver, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might not make the short lease longer in time. The worker finds tasks by itself until then."""
    beat, may_beat = Heartbeat._beat_until_stopped, threading.Event()

    async def beat_later(heartbeat: Heartbeat, *parts: Any) -> None:
        await asyncio.to_thread(may_beat.wait)
        await beat(heartbeat, *parts)

    monkeypatch.setattr(Heartbeat, "_beat_until_stopped", beat_later)

    @app.task
    async def one() -> int:
        return 1

    async def stands() -> bool:
        return await _standing(driver) == 1

    async with app.workers():
        for _ in range(5):
            handle = await one.enqueue()
            assert await handle == 1
            assert await _standing(driver) == 0
        assert (await _read(driver, handle.id)).claims == 1
        may_beat.set()
        await until(stands)


async def test_a_worker_never_runs_more_than_it_has_room_for(make_app: Any, url: str, until: Any) -> None:
    """Here it is given a task just when it looks for others."""
    running, most = 0, 0
    app: AsyncOmniQ = make_app(url, poll_interval=0.1)
    another: AsyncOmniQ = make_app(url)

    @app.task
    async def one() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    async with app, another:
        driver = (await app._ready()).queue.driver
        claim, stood = driver.claim_or_stand, asyncio.Event()

        async def claim_or_stand(*args: Any, **options: Any) -> list[Record]:
            if not stood.is_set() and await _standing(driver) == 1:
                stood.set()
                await another.enqueue("one")
                await until(lambda: any(_handed(driver)._of.values()) or running > 0)
                await another.enqueue("one")
            return await claim(*args, **options)

        driver.claim_or_stand = claim_or_stand  # type: ignore[method-assign]
        async with app.workers(concurrency=1) as pool:
            await stood.wait()
            await pool.drain()
        assert (await app.stats()).totals == {"succeeded": 2}
    assert most == 1


def _handed(driver: Any) -> HandedOver:
    handed: HandedOver = driver._handed if isinstance(driver, RedisDriver) else driver._claims.handed
    return handed
