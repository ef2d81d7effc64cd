"""The server's clock, kept on this machine: what it shows has to be asked for only now and then."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from ..clock import system_clock


class ServerClock:
    """This machine's clock, set right by the server's, so that a machine whose clock is wrong does no harm.

    A driver and its clones share one.
    """

    def __init__(self) -> None:
        self._offset = 0

    def __call__(self) -> int:
        return system_clock() + self._offset

    async def learn(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Compare with the server's.

        Args:
            ask: Gives the server's moment in microseconds since 1970.
        """
        began = time.perf_counter_ns()
        theirs = await ask()
        took = (time.perf_counter_ns() - began) // 1000
        # The answer is from some moment of the call. A difference that the call itself may have made is none.
        offset = theirs - (system_clock() - took // 2)
        self._offset = offset if abs(offset) > took else 0
