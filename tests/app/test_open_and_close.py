"""Opening and closing an app: interrupted, at the same time, on one loop after the other; nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, StoreError
from omniq.backends.memory import MemoryDriver
from omniq.errors import NotOpenError

_TURNS = (1, 2, 3, 5, 8, 13)
"""After so many turns of the loop something is interrupted."""


@pytest.fixture
def four_stores(tmp_path: Path) -> dict[str, str]:
    """A store for each component."""
    return {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("queue", "results", "events", "schedules")}


@pytest.fixture
def left(tmp_path: Path) -> Callable[[], Any]:
    """The stores' files that are open, and the threads that were not there before."""
    before = set(threading.enumerate())

    def look() -> tuple[list[str], set[threading.Thread]]:
        for thread in set(threading.enumerate()) - before:
            if not thread.name.startswith("asyncio_"):
                thread.join(10)  # it may be on its last step
        files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        threads = {each for each in set(threading.enumerate()) - before if not each.name.startswith("asyncio_")}
        return [file for file in files if str(tmp_path) in file], threads

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not say which files are open")
    return look


async def _turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def _interrupt(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("n", _TURNS)
async def test_interrupted_closing_can_be_repeated_and_leaves_nothing(
    four_stores: dict[str, str], left: Callable[[], Any], n: int
) -> None:
    app = AsyncOmniQ(**four_stores)
    await app.open()
    closing = asyncio.create_task(app.close())
    await _turns(n)
    await _interrupt(closing)
    await app.close()
    assert (app.is_open, app.is_closed) == (False, True)
    assert left() == ([], set())
    async with app:
        assert (await app.stats()).queues == {}


@pytest.mark.parametrize("n", _TURNS)
async def test_closing_after_an_interrupted_opening_leaves_nothing(
    four_stores: dict[str, str], left: Callable[[], Any], n: int
) -> None:
    app = AsyncOmniQ(**four_stores)
    opening = asyncio.create_task(app.open())
    await _turns(n)
    await _interrupt(opening)
    await app.close()
    assert (app.is_open, app.is_closed) == (False, True)
    assert left() == ([], set())
    with pytest.raises(NotOpenError):
        await app.stats()


async def test_who_waits_for_an_opening_learns_that_the_app_was_closed(four_stores: dict[str, str]) -> None:
    app = AsyncOmniQ(**four_stores)
    callers = [asyncio.create_task(app.stats()) for _ in range(3)]
    await _turns(3)
    await app.close()
    for outcome in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(outcome, NotOpenError)


def test_opening_that_timed_out_is_no_matter_to_the_next_loop(sqlite_url: str) -> None:
    app = AsyncOmniQ(sqlite_url)

    async def give_up() -> None:
        opening = asyncio.create_task(app.open())
        await _turns(3)
        await _interrupt(opening)

    async def use() -> None:
        async with app:
            assert (await app.stats()).queues == {}

    asyncio.run(give_up())
    asyncio.run(use())


async def test_opening_while_the_app_is_being_closed_opens_it_anew(sqlite_url: str) -> None:
    app = AsyncOmniQ(sqlite_url)
    await app.open()
    closing = asyncio.create_task(app.close())
    await _turns(2)
    await app.open()
    assert closing.done()
    assert (await app.stats()).queues == {}
    await app.close()


async def test_store_that_can_not_be_closed_in_order_keeps_no_other_open(
    four_stores: dict[str, str], left: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: MemoryDriver) -> None:
        raise StoreError(self.url, "it is broken")

    monkeypatch.setattr(MemoryDriver, "close", fail)
    app = AsyncOmniQ(**{**four_stores, "queue": "memory://broken"}, secret="x" * 16)
    await app.open()
    with pytest.raises(StoreError, match="it is broken"):
        await app.close()
    assert (app.is_open, app.is_closed) == (False, True)
    assert left() == ([], set())
