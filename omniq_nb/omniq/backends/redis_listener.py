"""Hears what other drivers have changed or handed over: one subscription, as long as somebody watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis import exceptions as errors

from .redis_link import Link
from .redis_wire import Wire

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
        receive: Called with what is told of records that were handed over to this driver.
    """

    def __init__(
        self, link: Link, writer: bytes, notify: Callable[[bool], None], receive: Callable[[bytes], None]
    ) -> None:
        self._link = link
        prefix = link.place.prefix.encode()
        self._handed, self._claimable, self._changes = (
            prefix + b"handed:" + writer,
            prefix + b"claimable",
            prefix + b"changes",
        )
        self._wanted = [self._handed, self._claimable]
        self._writer = writer
        self._notify = notify
        self._receive = receive
        self._wire: Wire | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._subscribed: set[bytes] = set()

    @property
    def hears_what_is_handed(self) -> bool:
        """Whether records that are handed over would arrive."""
        return self._handed in self._subscribed

    def start(self) -> None:
        """Listen."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen_for_ever(), name="omniq-redis-listener")

    def hear_all_changes(self) -> None:
        """Hear of every change from now on, not only of what may be claimable."""
        if self._changes not in self._wanted:
            self._wanted.append(self._changes)
            if self._wire is not None:
                self._wire.send(("SSUBSCRIBE", self._changes))

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
                wire = Wire(await self._link.connect(), self._hear)
                try:
                    pause = _FIRST_PAUSE
                    await self._listen(wire)
                finally:
                    self._wire = None
                    self._subscribed.clear()
                    await wire.close()
            except (errors.RedisError, OSError) as error:
                # Nothing rests on hints; whoever calls the store meanwhile hears what is wrong.
                logger.debug("the subscription to %s is lost and comes again: %s", self._changes, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _listen(self, wire: Wire) -> None:
        """Listen until the connection is lost.

        Raises:
            Exception: Why.
        """
        wire.send(("SSUBSCRIBE", *self._wanted))
        self._wire = wire
        while True:
            asked_at = asyncio.get_running_loop().time()
            await self._watch(wire, _SILENCE)
            if wire.heard_at < asked_at:
                wire.send(("PING",))
                await self._watch(wire, min(_SILENCE, self._link.place.patience))
                if wire.heard_at < asked_at:
                    raise errors.TimeoutError("the server has fallen silent")

    async def _watch(self, wire: Wire, seconds: float) -> None:
        done, _ = await asyncio.wait([wire.lost], timeout=seconds)
        for lost in done:
            lost.result()

    def _hear(self, message: Any) -> None:
        match message:
            case [b"smessage", self._handed, told]:
                self._receive(told)
            case [b"smessage", channel, writer]:
                if writer != self._writer:
                    self._notify(channel == self._claimable)
            case [b"ssubscribe", channel, *_]:
                self._subscribed.add(channel)
                self._notify(True)  # noqa: FBT003 -- see the class
            case [b"sunsubscribe", *_]:
                self._drop(errors.ConnectionError("the slot has moved"))
            case errors.RedisError():
                self._drop(message)

    def _drop(self, reason: Exception) -> None:
        if self._wire is not None:
            self._wire.drop(reason)
