"""What to do while a store can't be reached: fail fast, and find out by itself when it is back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import StoreUnavailableError

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds for which a store that was not reached is left alone, at first and at most."""
TRIES = 4
"""A call that may be repeated is tried so often, over some 0.4 seconds: what a restarting server or a cut connection
takes. Once a store was not reached so often in a row, a call that tries it again does so once.
"""

_TRIAL_SECONDS = 1.0
"""So long calls wait for the one that tries: a store that is there answers by then."""

_T = TypeVar("_T")


def pause_after(failures: int, chance: float | None = None) -> float:
    """Seconds to leave a store alone that was not reached: exponential back-off with jitter.

    Args:
        failures: How often it was not reached before this time.
        chance: From 0 to 1: between a half and the whole of the pause's length, so that workers don't come back all at
            once.
    """
    longest = min(FIRST_PAUSE * 2.0 ** min(failures, 30), LONGEST_PAUSE)
    return longest * (1 + (random.random() if chance is None else chance)) / 2


class Breaker:
    """A circuit breaker, with exponential back-off and jitter.

    While calls get through, it is closed. Once a call has found the store away, it is open: calls fail at once, without
    a connection being tried. When its pause is over, one call may try (half-open), and those that come meanwhile wait
    a little for its outcome: if it gets through, the breaker closes; if not, the next pause is twice as long, up to
    `LONGEST_PAUSE`.

    Args:
        url: The store, for messages; passwords masked.
        clock: Seconds, monotonic.
        chance: Gives numbers from 0 to 1, for the jitter.

    Attributes:
        hurries: No call is repeated: whoever makes them is being closed, and need not wait longer for a store that does
            not answer.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._url = url
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._until = 0.0
        self._trying = False
        self._waiting: list[asyncio.Future[None]] = []
        self._last: StoreUnavailableError | None = None
        self.hurries = False

    @property
    def is_open(self) -> bool:
        """Whether the store was not reached last time."""
        return self._failures > 0

    def admit(self) -> None:
        """Let a call pass, or not.

        Raises:
            StoreUnavailableError: The store was not reached just now, and it is too early to try again.
        """
        if not self._failures:
            return
        wait = self._until - self._clock()
        if self._trying or wait > 0:
            detail = f"{self._last.detail}; tried again in {max(wait, 0.1):.1f} s" if self._last else ""
            raise StoreUnavailableError(self._url, detail, sent=False) from self._last
        self._trying = True

    def succeeded(self) -> None:
        """A call got through."""
        self._failures, self._last = 0, None
        self._end_trial()

    def failed(self, error: StoreUnavailableError) -> None:
        """A call did not."""
        self._until = self._clock() + pause_after(self._failures, self._chance())
        self._failures += 1
        self._last = error
        self._end_trial()

    def _end_trial(self) -> None:
        self._trying = False
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _await_trial(self) -> None:
        """Wait a little for the call that tries. Failing at once instead, callers who do several things at a time, and
        give up all when one fails, would cut the only trial off, each time anew.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await asyncio.wait([future], timeout=_TRIAL_SECONDS)

    async def call(self, operation: Callable[[], Awaitable[_T]], *, repeat: bool) -> _T:
        """Carry out an operation, again after a pause where that is safe.

        Args:
            operation: Raises StoreUnavailableError when it could not reach the store; other errors pass through, and
                show that the store is there.
            repeat: Carrying it out twice does no harm: reads. What never reached the store is repeated in any case.

        Raises:
            StoreUnavailableError: The store is away.
        """
        while True:
            if self._trying:
                await self._await_trial()
            self.admit()
            try:
                value = await operation()
            except StoreUnavailableError as error:
                self.failed(error)
                if self._failures >= TRIES or self.hurries or (error.sent and not repeat):
                    raise
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    self._end_trial()  # it says nothing about the store, but another must be let through
                else:
                    self.succeeded()
                raise
            else:
                self.succeeded()
                return value
            await asyncio.sleep(max(self._until - self._clock(), 0))
