"""A store that carries a write out and whose answer is lost: nothing is lost, nothing is done twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from omniq import AsyncOmniQ, StoreError, TaskStatus
from omniq.errors import StoreUnavailableError
from omniq.models.record import Insert, Op, Replace
from omniq.models.task import TASK
from omniq.storage import surely
from omniq.storage.driver import Driver
from omniq.storage.surely import write_surely
from omniq.workers import pool


class Cut:
    """Has the answers of a driver's next writes get lost, after or before the write is carried out."""

    def __init__(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = self.requests = 0
        self.matters = lambda ops: True
        write = driver.write

        async def cut(ops: Sequence[Op]) -> list[bool]:
            if not self.matters(ops):
                return await write(ops)
            if self.requests:
                self.requests -= 1
                raise StoreUnavailableError(driver.url, "connection reset", sent=True)
            outcomes = await write(ops)
            if self.answers:
                self.answers -= 1
                raise StoreUnavailableError(driver.url, "connection reset", sent=True)
            return outcomes

        monkeypatch.setattr(driver, "write", cut)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long nobody tries makes no difference here: how often somebody does is counted."""
    monkeypatch.setattr(pool, "_RETRY_STORE_SECONDS", 0.1)
    monkeypatch.setattr(surely, "_PAUSES", tuple(pause / 10 for pause in surely._PAUSES))


@pytest.fixture
async def cut(app: AsyncOmniQ, monkeypatch: pytest.MonkeyPatch) -> Cut:
    return Cut((await app._ready()).queue.driver, monkeypatch)


@pytest.mark.parametrize("lost", ["answers", "requests"])
async def test_enqueueing_goes_on(app: AsyncOmniQ, cut: Cut, lost: str) -> None:
    setattr(cut, lost, 1)
    handle = await app.enqueue("f")
    assert await handle.status() is TaskStatus.PENDING
    assert len((await app.list_tasks()).tasks) == 1
    assert len(await app.events(types="task.enqueued")) == 1


async def test_a_store_that_stays_away_is_reported(app: AsyncOmniQ, cut: Cut) -> None:
    cut.requests = 100
    with pytest.raises(StoreError, match="can't be reached"):
        await app.enqueue("f")
    cut.requests = 0


@pytest.mark.parametrize("lost", [1, 7])
async def test_a_settlement_counts_once(app: AsyncOmniQ, cut: Cut, lost: int, caplog: Any) -> None:
    runs: list[int] = []

    @app.task
    async def work(n: int) -> int:
        runs.append(n)
        return n

    group = await work.map(range(5))
    cut.matters = lambda ops: any(isinstance(op, Replace) and op.record.kind == TASK for op in ops)
    cut.answers = lost
    async with app.workers() as workers:
        assert await group == [0, 1, 2, 3, 4]
        await workers.drain()
    assert sorted(runs) == [0, 1, 2, 3, 4]
    assert len(await app.events(types="task.succeeded")) == 5
    assert "lease on task" not in caplog.text


async def test_somebody_elses_write_is_not_taken_for_ones_own(app: AsyncOmniQ, cut: Cut) -> None:
    handle = await app.enqueue("f")
    driver = (await app._ready()).queue.driver
    (record,) = await driver.get([(TASK, handle.id)])
    assert record is not None
    await handle.cancel()
    cut.answers = 1
    assert await write_surely(driver, [Replace(record, record)]) == [False]
    cut.answers = 1
    assert await write_surely(driver, [Insert(record)]) == [True]  # its own id and moment: so it was there already


async def test_one_line_for_an_outage_and_one_for_its_end(app: AsyncOmniQ, cut: Cut, caplog: Any, until: Any) -> None:
    caplog.set_level("INFO", "omniq")

    @app.task
    async def work() -> int:
        return 1

    cut.matters = lambda ops: any(isinstance(op, Replace) and op.record.kind == TASK for op in ops)
    cut.requests = 12
    async with app.workers():
        assert await (await work.enqueue()) == 1
        await until(lambda: "its store is back" in caplog.text)
    lines = [each.message for each in caplog.records if "tries until it can" in each.message]
    assert len(lines) == 1
    assert "can't write what came of tasks" in lines[0]
