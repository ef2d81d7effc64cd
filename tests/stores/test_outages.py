"""Servers that are killed, connections that are cut: no task is lost, none is completed twice, workers go on."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest
from omniq import AsyncOmniQ, StoreError, TaskStatus

from tests.servers.proxy import Proxy

from .conftest import Restartable

TASKS = 300


def _work(app: AsyncOmniQ) -> Any:
    @app.task(max_retries=0)
    async def work(n: int) -> int:
        await asyncio.sleep(0.01)
        return n

    return work


async def _assert_each_ended_once(app: AsyncOmniQ, group: Any) -> None:
    assert (await app.stats()).totals == {"succeeded": len(group)}
    frame = await app.events(types="task.succeeded")
    completions = Counter(frame["task_id"].to_list())
    assert set(completions) <= {handle.id for handle in group}
    assert max(completions.values()) == 1, "a completion was accepted twice"


async def test_a_killed_server_comes_back(own_server: Restartable, make_app: Any, caplog: Any) -> None:
    app: AsyncOmniQ = make_app(own_server.url, lease=5)
    await app.open()
    group = await _work(app).map(range(TASKS))
    async with app.workers(concurrency=10):
        for _ in range(2):
            await asyncio.sleep(0.15)
            await asyncio.to_thread(own_server.restart)
        assert await group == list(range(TASKS))
    await _assert_each_ended_once(app, group)
    # One line for each outage and each of the worker's concerns at most, not one for each task.
    assert len([each for each in caplog.records if each.levelname == "ERROR" and each.name == "omniq"]) < 20
    assert "Traceback" not in caplog.text


async def test_connections_are_cut_again_and_again(own_server: Restartable, make_app: Any) -> None:
    async with Proxy(own_server.port) as proxy:
        through = own_server.url.replace(f":{own_server.port}", f":{proxy.port}")
        app: AsyncOmniQ = make_app(through, lease=5)
        await app.open()
        group = await _work(app).map(range(TASKS))
        async with app.workers(concurrency=10):
            for _ in range(5):
                await asyncio.sleep(0.1)
                proxy.cut()
            assert await group == list(range(TASKS))
        await _assert_each_ended_once(app, group)
        await app.close()


async def test_answers_that_never_come(own_server: Restartable, make_app: Any) -> None:
    """The server carries writes out, and the connection breaks before it has said so."""
    async with Proxy(own_server.port) as proxy:
        through = own_server.url.replace(f":{own_server.port}", f":{proxy.port}")
        app: AsyncOmniQ = make_app(through, lease=5)
        await app.open()
        group = await _work(app).map(range(TASKS))
        async with app.workers(concurrency=10):
            for _ in range(3):
                await asyncio.sleep(0.1)
                proxy.swallows_answers = True
                await asyncio.sleep(0.05)
                proxy.cut()
                proxy.swallows_answers = False
            assert await group == list(range(TASKS))
        await _assert_each_ended_once(app, group)
        await app.close()


async def test_a_store_that_is_away_is_one_clear_line(own_server: Restartable, make_app: Any) -> None:
    async with Proxy(own_server.port) as proxy:
        through = own_server.url.replace(f":{own_server.port}", f":{proxy.port}")
        app: AsyncOmniQ = make_app(through)
        await app.open()
        handle = await app.enqueue("f")
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(StoreError, match="can't be reached") as caught:
            await app.enqueue("f")
        assert "\n" not in str(caught.value)
        health = await app.health(timeout=3)
        assert not health.ok
        proxy.refuses = False
        for _ in range(100):
            try:
                assert await handle.status() is TaskStatus.PENDING
                break
            except StoreError:
                await asyncio.sleep(0.1)
        else:
            pytest.fail("the store is back, and the app does not find it")
        await app.close()


async def test_a_worker_that_starts_before_its_store(own_server: Restartable, make_app: Any, children: Any) -> None:
    async with Proxy(own_server.port) as proxy:
        proxy.refuses = True
        through = own_server.url.replace(f":{own_server.port}", f":{proxy.port}")
        worker = children.worker(through, "--drain")
        while "tries until it can" not in children.output_of(worker):
            assert worker.poll() is None, children.output_of(worker)
            await asyncio.sleep(0.05)
        handle = await _work(make_app(own_server.url)).enqueue(42)
        proxy.refuses = False
        assert await handle == 42
        assert await asyncio.to_thread(worker.wait, 30) == 0
        said = children.output_of(worker)
        assert said.count("can't open its store") == 1, said
        assert "its store is back after" in said
        assert "Traceback" not in said


async def test_nobody_listens(own_server: Restartable, make_app: Any) -> None:
    parts = urlsplit(own_server.url)
    user, colon, _ = parts.netloc.rpartition("@")
    nobody = own_server.url.replace(parts.netloc, f"{user or 'u:hunter2'}@127.0.0.1:1" if colon or not user else "")
    with pytest.raises(StoreError) as caught:
        await make_app(nobody, secret="a secret of enough bytes").open()
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
