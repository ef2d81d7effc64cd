"""The server's clock, kept on this machine: what it shows has to be asked for only now and then."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from ..clock import SECOND, system_clock

_FRESH_SECONDS = 20.0
"""A little longer than the pause between two pings of the connection that listens, each of which asks the time."""


class ServerClock:
    """This machine's clock, set right by the server's, so that a machine whose clock is wrong does no harm.

    A driver and its clones share one.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._learned_at = -_FRESH_SECONDS
        self._ahead = 0

    def __call__(self) -> int:
        return system_clock() + self._offset

    @property
    def is_doubtful(self) -> bool:
        """Whether to compare again: it was long ago, or this machine's clock was set, or has slept, since then."""
        if time.monotonic() - self._learned_at > _FRESH_SECONDS:
            return True
        return abs(_ahead_of_monotonic() - self._ahead) > SECOND

    async def learn(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Compare with the server's.

        Args:
            ask: Gives the server's moment in microseconds since 1970.
        """
        # Before the answer comes, so that others don't ask as well; if none comes, there will be other calls.
        self._learned_at, self._ahead = time.monotonic(), _ahead_of_monotonic()
        began = time.perf_counter_ns()
        theirs = await ask()
        took = (time.perf_counter_ns() - began) // 1000
        # The answer is from some moment of the call. A difference that the call itself may have made is none.
        offset = theirs - (system_clock() - took // 2)
        self._offset = offset if abs(offset) > took else 0


def _ahead_of_monotonic() -> int:
    """What stays the same as long as nobody sets this machine's clock."""
    return system_clock() - time.monotonic_ns() // 1000
