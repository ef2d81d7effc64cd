"""Calls that share what one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class SharedTurns:
    """Does something for all who ask: each by a turn that began after he asked, shared with others.

    Args:
        act: What is done in a turn.
    """

    def __init__(self, act: Callable[[], Awaitable[None]]) -> None:
        self._act = act
        self._present: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Forget the turns of another loop."""
        self._present = self._next = None

    async def take(self) -> None:
        """Wait for the end of a turn that begins from now on."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._turn(self._present))
            self._next.add_done_callback(_retrieve)
        await asyncio.shield(self._next)

    async def finish(self) -> None:
        """Wait for the turns under way."""
        turns = (turn for turn in (self._present, self._next) if turn is not None)
        await asyncio.gather(*turns, return_exceptions=True)

    async def _turn(self, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        self._present, self._next = self._next, None
        await self._act()


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at an error that nobody waits for any more, or asyncio would complain that nobody did."""
    if not task.cancelled():
        task.exception()
