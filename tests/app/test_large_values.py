"""Large arguments and results on a store of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, SerializationError, sending
from omniq.clock import system_clock
from omniq.models.record import Delete, Filter, Insert, Op, Record
from omniq.models.task import TASK
from omniq.notebook.source import Source
from omniq.storage import large
from omniq.storage.driver import Driver
from omniq.storage.large import LOOK, UNTOUCHED, VALUE
from omniq.testing.clock import FakeClock

LARGE = "x" * 5000
DIES = """
import asyncio, os
from omniq import AsyncOmniQ

async def main():
    async with AsyncOmniQ() as app:
        driver = (await app._ready()).queue.driver
        write = driver.write
        driver.write = lambda ops: os._exit(9) if ops[0].record.kind == "task" else write(ops)
        await app.enqueue("echo", ["x" * 5000])

asyncio.run(main())
"""
"""A process that dies after it has written the arguments of a task and before it writes the task."""


@pytest.fixture
async def app(make_app: Any, tmp_path: Path) -> AsyncIterator[AsyncOmniQ]:
    async with make_app(large_values=f"sqlite:///{tmp_path}/large.db", large_value_bytes=1000) as app:
        yield app


async def _values(app: AsyncOmniQ, kind: str = VALUE) -> list[str]:
    parts = await app._ready()
    assert parts.large is not None
    return [record.key for record in (await parts.large.driver.scan(Filter(kind=kind))).records]


async def _tasks(app: AsyncOmniQ) -> list[Record]:
    return (await (await app._ready()).queue.driver.scan(Filter(kind=TASK))).records


async def _sweep(app: AsyncOmniQ, *, later: int = 0) -> None:
    """The part of the maintenance that looks at large values, so many microseconds later."""
    values = (await app._ready()).large
    assert values is not None
    values.driver.clock = lambda: system_clock() + later
    await values.sweep()


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
    assert await _values(app) == await _values(app, LOOK) == []


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


# --- many at once ---


class Writes:
    """Counts a driver's writes that are under way, and holds them up until so many are."""

    def __init__(self, driver: Driver, wait_for: int) -> None:
        self.under_way = self.most = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.fail = ""
        self._write, self._wait_for = driver.write, wait_for
        driver.write = self.write  # type: ignore[method-assign]

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way == self._wait_for:
            self.begun.set()
            self.go_on.set()
        try:
            if self.fail and any(self.fail in op.record.key for op in ops if isinstance(op, Insert)):
                raise ConnectionAbortedError(self.fail)
            await self.go_on.wait()
            await asyncio.sleep(0)
            return await self._write(ops)
        finally:
            self.under_way -= 1


@pytest.fixture
async def writes(app: AsyncOmniQ) -> Writes:
    large = (await app._ready()).large
    assert large is not None
    await app.enqueue("first", [LARGE])
    return Writes(large.driver, sending._LARGE_AT_ONCE)


async def test_large_arguments_go_together_and_keep_their_order(app: AsyncOmniQ, writes: Writes) -> None:
    @app.task
    async def head(text: str) -> str:
        return text[:3]

    calls = [f"{n:03}" if n % 3 else f"{n:03}{LARGE}" for n in range(80)]
    group = await head.map(calls)
    assert writes.most == sending._LARGE_AT_ONCE
    async with app.workers():
        assert await group == [text[:3] for text in calls]


async def test_one_that_fails_leaves_none_running_behind(app: AsyncOmniQ, writes: Writes, monkeypatch: Any) -> None:
    @app.task
    async def echo(text: str) -> str:
        return text

    ids = [f"task{n}" for n in range(20)]
    monkeypatch.setattr(sending, "new_ids", lambda n: ids[:n])
    writes.fail = "task2."
    sent = asyncio.ensure_future(echo.map([LARGE] * 20))
    while writes.under_way < sending._LARGE_AT_ONCE - 1:
        await asyncio.sleep(0)
    assert not sent.done(), "others are under way"
    writes.go_on.set()
    with pytest.raises(ConnectionAbortedError):
        await sent
    assert writes.under_way == 0
    assert len(await _values(app)) == sending._LARGE_AT_ONCE, "those after the failure were sent all the same"
    assert [task.func for task in (await app.list_tasks()).tasks] == ["first"]


async def test_who_is_cancelled_leaves_none_running_behind(app: AsyncOmniQ, writes: Writes) -> None:
    @app.task
    async def echo(text: str) -> str:
        return text

    sent = asyncio.ensure_future(echo.map([LARGE] * 20))
    await writes.begun.wait()
    sent.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sent
    assert writes.under_way == 0


# --- values that nobody wants ---


async def test_arguments_whose_task_never_came_go_after_a_day(children: Any, sqlite_url: str, tmp_path: Path) -> None:
    fields = {"large_values": f"sqlite:///{tmp_path}/large.db", "large_value_bytes": 1000}
    variables = {f"OMNIQ_{name.upper()}": str(value) for name, value in fields.items()}
    assert children.python("-c", DIES, OMNIQ_URL=sqlite_url, **variables).wait(60) == 9
    async with AsyncOmniQ(sqlite_url, **fields) as app:
        assert (await app.list_tasks()).tasks == []
        (lost,) = await _values(app)
        await _sweep(app, later=UNTOUCHED // 2)
        assert await _values(app) == [lost], "its task may be part of a transaction that is still open"
        await _sweep(app, later=UNTOUCHED)
        assert await _values(app) == await _values(app, LOOK) == []


async def test_those_of_a_task_stay_however_old_they_are(app: AsyncOmniQ) -> None:
    @app.task
    async def echo(text: str) -> str:
        return text

    async with app.workers():
        await (await echo.enqueue(LARGE))
        named = await echo.options(task_id="a.name").enqueue(LARGE)
        await named
    waits = await echo.enqueue(LARGE)
    kept = await _values(app)
    assert len(kept) == 5
    for days in (1, 2, 3, 1000, 100_000):
        await _sweep(app, later=days * UNTOUCHED)
        assert await _values(app) == await _values(app, LOOK) == kept
    async with app.workers():
        assert await waits == LARGE
    assert await app.get_result(named.id)


async def test_those_that_stay_are_looked_at_less_and_less_often(app: AsyncOmniQ) -> None:
    values = (await app._ready()).large
    assert values is not None
    clock = values.driver.clock = FakeClock()
    await app.enqueue("echo", [LARGE])
    clock.now += 1
    looked_at: list[int] = []
    for day in range(1, 100):
        (before,) = (await values.driver.scan(Filter(kind=LOOK))).records
        clock.now += UNTOUCHED
        await values.sweep()
        (after,) = (await values.driver.scan(Filter(kind=LOOK))).records
        looked_at += [day] if after != before else []
    assert looked_at == [1, 3, 7, 15, 31, 63]


async def test_another_queues_values_are_left_alone(app: AsyncOmniQ, tmp_path: Path) -> None:
    await app.enqueue("echo", [LARGE])
    kept = await _values(app)
    async with AsyncOmniQ(
        f"sqlite:///{tmp_path}/another.db", large_values=app.config.large_values, large_value_bytes=1000
    ) as other:
        await other.enqueue("echo", [LARGE])
        await _sweep(other, later=2 * UNTOUCHED)
        assert len(await _values(other)) == 2
        parts = await other._ready()
        await parts.queue.driver.write([Delete(record) for record in await _tasks(other)])
        await _sweep(other, later=5 * UNTOUCHED)
    assert await _values(app) == kept


async def test_what_a_purge_without_the_store_left_behind_goes(app: AsyncOmniQ, make_app: Any) -> None:
    await app.enqueue("echo", [LARGE])
    await _sweep(app, later=UNTOUCHED)
    assert await make_app().purge(status="pending") == 1
    assert len(await _values(app)) == 1
    await _sweep(app, later=3 * UNTOUCHED)
    assert await _values(app) == []


async def test_a_pass_has_its_bounds_and_the_next_one_goes_on(app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "_PAGE", 2)
    monkeypatch.setattr(large, "_AT_ONCE", 1)
    for n in range(7):
        await app.enqueue("echo", [LARGE])
        if n % 2:
            await (await app._ready()).queue.driver.write([Delete((await _tasks(app))[-1])])
    left: list[int] = []
    for _ in range(5):
        await _sweep(app, later=UNTOUCHED)
        left.append(len(await _values(app)))
    assert left == [6, 5, 4, 4, 4]


async def test_workers_do_it(make_app: Any, tmp_path: Path, until: Any) -> None:
    app: AsyncOmniQ = make_app(large_values=f"sqlite:///{tmp_path}/large.db", large_value_bytes=1000, lease=0.5)
    await app.enqueue("lost", [LARGE])
    parts = await app._ready()
    await parts.queue.driver.write([Delete(record) for record in await _tasks(app)])
    assert parts.large is not None
    parts.large.driver.clock = lambda: system_clock() + UNTOUCHED

    async def it_is_gone() -> bool:
        return not await _values(app)

    async with app.workers():
        await until(it_is_gone)
