"""Large arguments and results on a store of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, SerializationError
from omniq.models.record import Filter
from omniq.notebook.source import Source
from omniq.storage.large import VALUE

LARGE = "x" * 5000


@pytest.fixture
async def app(make_app: Any, tmp_path: Path) -> AsyncIterator[AsyncOmniQ]:
    async with make_app(large_values=f"sqlite:///{tmp_path}/large.db", large_value_bytes=1000) as app:
        yield app


async def _values(app: AsyncOmniQ) -> list[str]:
    parts = await app._ready()
    assert parts.large is not None
    return [record.key for record in (await parts.large.driver.scan(Filter(kind=VALUE))).records]


async def test_large_ones_go_by_reference_and_come_back(app: AsyncOmniQ) -> None:
    @app.task
    async def double(text: str) -> str:
        return text * 2

    async with app.workers():
        large = await double.enqueue(LARGE)
        assert await large == LARGE * 2
        assert await (await double.enqueue("x")) == "xx"
    assert await _values(app) == [f"{large.id}.1", f"{large.id}.arguments"]
    parts = await app._ready()
    stored = await parts.queue.driver.get([("task", large.id), ("result", f"{large.id}.1")])
    assert all(record is not None and len(record.body) < 1000 for record in stored)


async def test_they_go_with_the_task(app: AsyncOmniQ) -> None:
    @app.task
    async def echo(text: str) -> str:
        return text

    async with app.workers():
        await (await echo.enqueue(LARGE))
    assert len(await _values(app)) == 2
    assert await app.purge() == 1
    assert await _values(app) == []


async def test_an_app_without_the_store_says_so(app: AsyncOmniQ, make_app: Any) -> None:
    @app.task
    async def echo(text: str) -> str:
        return text

    async with app.workers():
        handle = await echo.enqueue(LARGE)
        await handle
    with pytest.raises(SerializationError, match="give it the same large_values"):
        await make_app().get_result(handle.id)


async def test_a_value_that_is_gone_fails_the_task_with_the_reason(app: AsyncOmniQ) -> None:
    @app.task(max_retries=0)
    async def echo(text: str) -> str:
        return text

    handle = await echo.enqueue(LARGE)
    parts = await app._ready()
    assert parts.large is not None
    await parts.large.remove([f"{handle.id}.arguments"])
    async with app.workers():
        assert "is gone from its store" in ((await handle.wait()).error or "")


async def test_what_earlier_attempts_left_goes_too(app: AsyncOmniQ) -> None:
    @app.task(max_retries=0)
    async def fail(text: str) -> str:
        raise ValueError(text)

    async with app.workers():
        handle = await fail.enqueue("no")
        await handle.wait()
        await handle.retry()
        await handle.wait()
    parts = await app._ready()
    keys = [("result", f"{handle.id}.{attempt}") for attempt in (1, 2)]
    assert None not in await parts.results.driver.get(keys)
    assert await app.purge(status="failed") == 1
    assert await parts.results.driver.get(keys) == [None, None]


async def test_details_show_them_as_any_other(app: AsyncOmniQ) -> None:
    @app.task
    async def double(text: str) -> str:
        return text * 2

    async with app.workers():
        handle = await double.enqueue(LARGE)
        await handle
    detail = await Source(await app._ready()).detail(handle.id)
    assert detail["args"].startswith("'xxx")
    assert detail["result"].startswith("'xxx")
