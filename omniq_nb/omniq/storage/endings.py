"""Opening and closing: one at a time, and what is being closed is closed to its end, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

logger = logging.getLogger("omniq")


class Ending:
    """Work that ends something: under way once at most, and awaited by all who ask for it.

    It goes on where they are cancelled: half of it would leave behind what nobody can end any more.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work, or wait for that which is under way."""
        task = self._task = self._under_way() or asyncio.create_task(work())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    @property
    def is_cancelled(self) -> bool:
        """Whether it was itself cancelled, because the loop ends."""
        return self._task is not None and self._task.cancelling() > 0

    async def wait(self) -> None:
        """Wait until nothing is under way."""
        task = self._under_way()
        if task is not None:
            await asyncio.wait([task])

    def _under_way(self) -> asyncio.Task[None] | None:
        task = self._task
        # What another loop had under way has ended with it.
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task


def _log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.warning("what went on in the background after an interruption has failed: %s", error)


class Turns:
    """Has a driver opened and closed by one caller at a time.

    An opening is its caller's: when he is cancelled it is undone, and whoever comes next begins anew. A closing is an
    `Ending`.
    """

    def __init__(self) -> None:
        self._ending = Ending()
        self._lock: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, connect: Callable[[], Awaitable[None]]) -> None:
        """Connect in turn; ``connect`` does nothing where somebody else has connected."""
        await self._ending.wait()
        async with self._turn():
            await connect()

    async def close(self, let_go: Callable[[], Awaitable[None]]) -> None:
        """Let go in turn, to the end; ``let_go`` does nothing where that was done."""

        async def let_go_in_turn() -> None:
            async with self._turn():
                await let_go()

        await self._ending.run(let_go_in_turn)

    def _turn(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._lock is None or self._loop is not loop:
            # A driver may be opened anew on another loop, and a lock belongs to one.
            self._lock, self._loop = asyncio.Lock(), loop
        return self._lock


async def each_of(*steps: Callable[[], Awaitable[object]]) -> None:
    """Take all of the steps, one after the other, also when one fails.

    Raises:
        BaseException: What the last of those that failed raised, with those before it as its context.
    """
    async with AsyncExitStack() as left:
        for step in reversed(steps):
            left.push_async_callback(step)


async def all_of(*steps: Callable[[], Awaitable[object]]) -> None:
    """Take all of the steps side by side, to the end also when one fails.

    Raises:
        BaseException: What the first of those that failed raised.
    """
    outcomes = await asyncio.gather(*(step() for step in steps), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
