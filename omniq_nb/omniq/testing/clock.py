"""A clock that moves only when it is told to."""

from __future__ import annotations

from datetime import timedelta

from ..clock import micros

_START = 1_767_225_600_000_000  # 2026-01-01 00:00 UTC


class FakeClock:
    """Gives the same moment until `advance` moves it: a test of leases and delays needs no sleep.

    Example:
        >>> clock = FakeClock(0)
        >>> clock.advance(1.5)
        1500000
        >>> clock()
        1500000
    """

    def __init__(self, now: int = _START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float | timedelta) -> int:
        """Move on by so many seconds; gives the new moment."""
        self.now += micros(seconds, "seconds")
        return self.now
