"""The store's clock, as well as this process can know it."""

from __future__ import annotations

import time

from ..clock import system_clock

_SET_BACK = 500_000
"""Microseconds by which the server's clock must have gone back for this one to follow it at once."""


class StoreClock:
    """Gives the server's time without asking for it, whatever this machine's clock shows.

    Every answer of a script carries the moment at which it ran, which lies between the sending of the call and the
    arrival of the answer. So each answer bounds how much more the server's clock shows than this machine's monotonic
    one. The lower bound is used, the greatest so far, as long as no answer proves it too great: what is due "now" by
    it is due at the server. It does not run back, unless the server's clock is set back: what is enqueued later is
    younger.
    """

    def __init__(self) -> None:
        self._ahead: int | None = None
        self._shown = 0

    def learn(self, sent_at: int, moment: int) -> None:
        """Note the moment that an answer carries, as soon as it has arrived.

        Args:
            sent_at: By `monotonic`, just before the call was sent.
            moment: The server's time when it ran.
        """
        least, most = moment - monotonic(), moment - sent_at
        if self._ahead is None or self._ahead < least:
            self._ahead = least
        elif self._ahead > most:
            if self._ahead - most > _SET_BACK:
                self._shown = 0
            self._ahead = least

    def __call__(self) -> int:
        if self._ahead is None:
            return system_clock()
        self._shown = max(self._shown, self._ahead + monotonic())
        return self._shown


def monotonic() -> int:
    """This machine's monotonic clock, in microseconds."""
    return time.monotonic_ns() // 1000
