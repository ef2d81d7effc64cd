"""A bucket's clock, kept on this machine: what it shows has to be asked for only now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from ..clock import SECOND, system_clock

logger = logging.getLogger("omniq")

_FRESH = 600 * SECOND
"""To ask is a request of its own, and clocks drift slowly: what comes suddenly is noticed at once."""
_TOLERANCE = 2 * SECOND
"""By how much the machine's clock may differ from the store's, which is known to the second."""


class BucketClock:
    """This machine's clock, set right by the store's where it is seconds off, as `ServerClock` is for PostgreSQL.

    When somebody sets this machine's clock, it goes on as if nobody had, until it has been compared again. A driver and
    its clones share one.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._ahead = _ahead_of_uptime()
        self._learned_at: float = float("-inf")

    def __call__(self) -> int:
        return system_clock() + self._offset - self._set_since()

    def _set_since(self) -> int:
        """By how much this machine's clock was set since it was compared."""
        by = _ahead_of_uptime() - self._ahead
        return by if abs(by) > SECOND else 0

    @property
    def is_doubtful(self) -> bool:
        """Whether to compare again: it was long ago, or this machine's clock was set since then."""
        return uptime() - self._learned_at > _FRESH or self._set_since() != 0

    async def learn(self, ask: Callable[[], Awaitable[int | None]]) -> None:
        """Compare with the store's.

        Args:
            ask: Gives the store's moment in microseconds since 1970, if it tells it.
        """
        began = uptime()
        theirs = await ask()
        self._compare(theirs, uptime() - began)

    def begin(self, theirs: int | None) -> None:
        """Compare with what the store's showed at some moment of the opening."""
        if self.is_doubtful:  # else a clone is opened, and knows better
            self._compare(theirs, 0)
            if self._offset:
                self._learned_at = float("-inf")  # the opening itself may have taken so long

    def _compare(self, theirs: int | None, took: int) -> None:
        self._learned_at, self._ahead = uptime(), _ahead_of_uptime()
        if theirs is None:
            return
        # The answer is from some moment of the call. A difference that the call itself may have made is none.
        offset = theirs - (system_clock() - took // 2)
        if abs(offset) <= _TOLERANCE + took // 2:
            offset = 0
        elif abs(offset - self._offset) > _TOLERANCE:
            logger.warning("this machine's clock is %+.0f s off the store's, which counts", -offset / SECOND)
        self._offset = offset


def uptime() -> int:
    """Microseconds of a clock that nobody sets, and that also runs while the machine sleeps."""
    return (time.clock_gettime_ns(_CLOCK) if _CLOCK is not None else time.monotonic_ns()) // 1000


# Runs while the machine sleeps: under the first name on Linux, under the second on macOS. Windows has just one clock.
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _ahead_of_uptime() -> int:
    """What stays the same as long as nobody sets this machine's clock."""
    return system_clock() - uptime()
