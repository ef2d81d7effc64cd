"""Hears what other drivers have changed: one subscription, as long as somebody watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from redis import exceptions as errors
from redis.asyncio.connection import Connection

from .redis_link import Link

logger = logging.getLogger("omniq")

_LINGER = 30.0
"""Seconds that the subscription outlives its last watcher: whoever awaits one handle after the other needs it anew."""
_SILENCE = 15.0
"""After so many seconds without a message the server is asked whether it is there."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class Listener:
    """The subscription.

    Args:
        link: Knows the server.
        writer: The driver's own name, whose messages are not passed on.
        notify: Called with whether something may be claimable, and once with `True` when the subscription (again)
            stands: what happened before was not heard.
    """

    def __init__(self, link: Link, writer: bytes, notify: Callable[[bool], None]) -> None:
        self._link = link
        self._channel = f"{link.place.prefix}changes"
        self._writer = writer
        self._notify = notify
        self._listening: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen_for_ever(), name="omniq-redis-listener")

    def stop(self) -> None:
        """Listen no more, after a while."""
        if self._listening is not None and self._ending is None:
            self._ending = asyncio.get_running_loop().call_later(_LINGER, self._end)

    def _end(self) -> None:
        self._ending = None
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def close(self) -> None:
        """Listen no more, and let go of the server."""
        if self._ending is not None:
            self._ending.cancel()
        listening = self._listening
        self._end()
        if listening is not None:
            await asyncio.wait([listening])

    async def _listen_for_ever(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                connection = await self._link.connect()
                try:
                    await self._subscribe(connection)
                    pause = _FIRST_PAUSE
                    await self._listen(connection)
                finally:
                    await connection.disconnect(nowait=True)
            except (errors.RedisError, OSError, TimeoutError) as error:
                # Nothing rests on hints; whoever calls the store meanwhile hears what is wrong.
                logger.debug("the subscription to %s is lost and comes again: %s", self._channel, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _subscribe(self, connection: Connection) -> None:
        async with asyncio.timeout(self._link.place.patience):
            await connection.send_command("SSUBSCRIBE", self._channel)
            await connection.read_response()
        self._notify(True)  # noqa: FBT003 -- see above

    async def _listen(self, connection: Connection) -> None:
        asked = False
        while True:
            message = await connection.read_response(timeout=_SILENCE, disable_decoding=True)
            if message is None:
                if asked:
                    raise TimeoutError("the server has fallen silent")
                await connection.send_command("PING")
                asked = True
                continue
            asked = False
            if message[0] == b"sunsubscribe":
                raise errors.ConnectionError("the slot has moved")
            if message[0] == b"smessage" and message[2][1:] != self._writer:
                self._notify(message[2][:1] == b"1")
