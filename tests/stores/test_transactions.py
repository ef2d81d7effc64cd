"""Tasks that are enqueued within the caller's own transaction, on PostgreSQL; elsewhere it is refused."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from omniq import AsyncOmniQ, OptionError, TaskNotFoundError
from omniq.clock import system_clock
from omniq.models.record import Filter
from omniq.storage.large import UNTOUCHED, VALUE

from tests.servers.postgres import bare, shared_server


@pytest.fixture
async def app(make_app: Any) -> AsyncOmniQ:
    app: AsyncOmniQ = make_app(shared_server().url())
    await app.open()
    return app


@pytest.fixture
async def connection(app: AsyncOmniQ) -> Any:
    connection = await asyncpg.connect(bare(app.config.url))
    yield connection
    await connection.close()


async def test_a_task_runs_once_the_transaction_is_committed(app: AsyncOmniQ, connection: Any) -> None:
    @app.task
    async def one() -> int:
        return 1

    async with app.workers() as pool:
        async with connection.transaction():
            handle = await app.enqueue("one", connection=connection)
            await pool.drain()
            with pytest.raises(TaskNotFoundError):
                await app.get_task(handle.id)
        assert await handle == 1


async def test_a_transaction_that_is_rolled_back_leaves_nothing(app: AsyncOmniQ, connection: Any) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await app.enqueue("one", connection=connection)
    await transaction.rollback()
    assert (await app.list_tasks()).tasks == []
    assert (await app.stats()).totals == {}
    assert len(await app.events(types="task.*")) == 0


async def test_events_on_another_store_say_nothing_of_it_before_it_is_begun(
    make_app: Any, connection: Any, app: AsyncOmniQ, tmp_path: Path
) -> None:
    app = make_app(app.config.url, events=f"sqlite:///{tmp_path}/events.db")

    @app.task
    async def one() -> int:
        return 1

    async with connection.transaction():
        handle = await app.enqueue("one", connection=connection)
    async with app.workers():
        assert await handle == 1
    assert "task.enqueued" not in (await app.events(types="task.*"))["event_type"].to_list()
    assert len(await app.events(types="task.succeeded")) == 1


async def test_large_arguments_go_when_their_transaction_was_rolled_back_and_stay_when_not(
    make_app: Any, connection: Any, app: AsyncOmniQ, tmp_path: Path
) -> None:
    app = make_app(app.config.url, large_values=f"sqlite:///{tmp_path}/large.db", large_value_bytes=1000)
    large = (await app._ready()).large
    assert large is not None

    @app.task
    async def measure(text: str) -> int:
        return len(text)

    async def sweep(later: int) -> list[str]:
        large.driver.clock = lambda: system_clock() + later
        await large.sweep()
        return [record.key for record in (await large.driver.scan(Filter(kind=VALUE))).records]

    transaction = connection.transaction()
    await transaction.start()
    await app.enqueue("measure", ["x" * 5000], connection=connection)
    assert len(await sweep(UNTOUCHED // 2)) == 1
    await transaction.rollback()
    async with connection.transaction():
        kept = await app.enqueue("measure", ["x" * 6000], connection=connection)
        assert len(await sweep(UNTOUCHED // 2)) == 2, "the transaction is still open"
    for days in (1, 2, 1000):
        assert await sweep(days * UNTOUCHED) == [f"{kept.id}.arguments"]
    async with app.workers():
        assert await kept == 6000


async def test_other_stores_refuse_it(make_app: Any) -> None:
    with pytest.raises(OptionError, match="PostgreSQL, and Memory can't: leave it out"):
        await make_app("memory://").enqueue("one", connection=object())


async def test_a_connection_of_another_loop_is_refused(app: AsyncOmniQ) -> None:
    """To use it here would bring the interpreter down, now and then."""

    async def elsewhere(enqueue: Callable[[Any], concurrent.futures.Future[Any]]) -> None:
        connection = await asyncpg.connect(bare(app.config.url))
        try:
            async with connection.transaction():
                with pytest.raises(OptionError, match="belongs to another event loop"):
                    await asyncio.wrap_future(enqueue(connection))
        finally:
            await connection.close()

    here = asyncio.get_running_loop()

    def enqueue(connection: Any) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(app.enqueue("one", connection=connection), here)

    await asyncio.to_thread(asyncio.run, elsewhere(enqueue))
