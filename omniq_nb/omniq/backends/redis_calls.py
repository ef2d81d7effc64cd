"""Calls of scripts: they tell the server's time, and what changes the store is carried out once."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from ..clock import Clock
from ..errors import StoreUnavailableError
from .redis_clock import StoreClock, monotonic
from .redis_errors import UnansweredError
from .redis_link import Link, Sent
from .redis_scripts import Script


class Ahead(NamedTuple):
    """A call that was sent before anybody awaits its answer, and when."""

    at: int
    sent: Sent


class Calls:
    """The calls of one driver over one link.

    Args:
        link: To the server.
        clock: Learns the server's time, unless it is another clock, which scripts are told then.
        call: Makes a call of the client's as `RemoteDriver.call` does.
        is_failing: Whether calls are likely to be in vain.

    Attributes:
        link: See there.
        writer: Names the driver to the server, from the opening on.
    """

    def __init__(
        self, link: Link, clock: Clock, call: Callable[..., Awaitable[Any]], is_failing: Callable[[], bool]
    ) -> None:
        self.link = link
        self.writer = secrets.token_hex(8).encode()
        self._clock = clock
        self._call = call
        self._is_failing = is_failing

    async def read(self, script: Script, *arguments: Any) -> Any:
        """Run a script that only reads, or may be run twice."""
        return await self._call(lambda: self.link.run(script, *arguments), repeat=True)

    async def read_timed(self, script: Script, *arguments: Any) -> list[Any]:
        """As `read`, of a script that is told the moment, or tells it."""
        answer: list[Any] = await self._call(lambda: self._timed(script, *arguments), repeat=True)
        return answer

    async def _timed(self, script: Script, *arguments: Any, ahead: Ahead | None = None) -> list[Any]:
        """Run a script whose first argument is the moment, and the first part of its answer too.

        Args:
            script: The script.
            *arguments: Its others.
            ahead: What `send_ahead` gave, if it did.
        """
        sent_at, sent = ahead or (monotonic(), None)
        answer: list[Any]
        shown, *answer = await self.link.run(script, self._given_moment(), *arguments, sent=sent)
        if isinstance(self._clock, StoreClock):
            self._clock.learn(sent_at, int(shown))
        return answer

    def _given_moment(self) -> Any:
        return b"" if isinstance(self._clock, StoreClock) else self._clock()

    def send_ahead(self, script: Script, number: int, *arguments: Any) -> Ahead | None:
        """Send what `run_once` will await the answer of, if nothing is in its way."""
        at = monotonic()
        if self._is_failing():
            return None
        sent = self.link.send(script, self._given_moment(), self.writer, number, "", *arguments)
        return sent and Ahead(at, sent)

    async def run_once(self, script: Script, number: int, *arguments: Any, ahead: Ahead | None = None) -> list[Any]:
        """Run a script that must not run twice, though it be sent twice because an answer was lost.

        The script notes what the writer's last call did, by its number, and says so when it is asked again.

        Args:
            script: The script.
            number: Of the call; each of this kind has a higher one.
            *arguments: The script's.
            ahead: What `send_ahead` gave, if it did.
        """
        again = unanswered = False

        async def attempt() -> list[Any]:
            nonlocal again, unanswered, ahead
            repeated, again = "1" if again else "", True
            sent, ahead = ahead, None
            try:
                return await self._timed(script, self.writer, number, repeated, *arguments, ahead=sent)
            except UnansweredError:
                unanswered = True
                raise

        try:
            answer: list[Any] = await self._call(attempt, repeat=True)
        except StoreUnavailableError as error:
            # The last try may not have got there, and an earlier one have.
            error.sent = error.sent or unanswered or ahead is not None
            raise
        return answer
