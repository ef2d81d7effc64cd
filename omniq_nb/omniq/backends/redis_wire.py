"""A connection to Redis as an asyncio protocol: an answer goes from the socket to whoever waits for it in one step.

redis-py makes the connection, with all that belongs to it: encryption, credentials, the database. What it would do for
each command then, stream, reader's lock, retries, takes several times as long as Redis does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
from redis import exceptions as errors
from redis.asyncio.connection import Connection

_NOTHING = object()
_ERRORS: dict[str, type[errors.RedisError]] = {
    "ASK": errors.AskError,
    "CLUSTERDOWN": errors.ClusterDownError,
    "LOADING": errors.BusyLoadingError,
    "MASTERDOWN": errors.MasterDownError,
    "MOVED": errors.MovedError,
    "NOAUTH": errors.AuthenticationError,
    "NOPERM": errors.NoPermissionError,
    "NOSCRIPT": errors.NoScriptError,
    "OOM": errors.OutOfMemoryError,
    "READONLY": errors.ReadOnlyError,
    "TRYAGAIN": errors.TryAgainError,
    "WRONGPASS": errors.AuthenticationError,
}


class Wire(asyncio.Protocol):
    """Takes over an open connection.

    Args:
        connection: redis-py's, without a command under way.
        heard: Called with each answer or message; errors come as exceptions.

    Attributes:
        lost: Becomes done when the connection is lost or closed.
        heard_at: When the server was last heard, by the loop's clock.
    """

    def __init__(self, connection: Connection, heard: Callable[[Any], None]) -> None:
        loop = asyncio.get_running_loop()
        self._connection = connection
        self._heard = heard
        self._reader = hiredis.Reader(protocolError=errors.InvalidResponse, replyError=_error, notEnoughData=_NOTHING)
        writer = connection._writer  # noqa: SLF001 -- redis-py has no public way to the transport
        assert writer is not None
        self._transport = writer.transport
        self._transport.set_protocol(self)
        self._time = loop.time
        self.heard_at = loop.time()
        self.lost: asyncio.Future[None] = loop.create_future()

    def send(self, command: tuple[Any, ...], *, first: bytes = b"") -> None:
        """Send a command, together with one that is packed and goes first."""
        # redis-py packs in Python, ten times slower.
        packed = hiredis.pack_command(command)
        self._transport.write(first + packed if first else packed)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._time()
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOTHING:
                self._heard(answer)
        except errors.InvalidResponse as error:
            self.drop(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(exc or errors.ConnectionError("the server closed the connection"))

    def drop(self, reason: Exception) -> None:
        """Count the connection as lost: what the server may still say comes too late."""
        if not self.lost.done():
            self._transport.abort()
            self.lost.set_exception(reason)
            self.lost.exception()  # whoever is interested asks for it

    async def close(self) -> None:
        """Let go of the connection."""
        # Not to be waited for: the stream behind it hears nothing of its end any more.
        await self._connection.disconnect(nowait=True)
        await asyncio.wait([self.lost])


def _error(said: str) -> errors.RedisError:
    code, _, rest = said.partition(" ")
    if code in _ERRORS:
        return _ERRORS[code](rest)
    return errors.ResponseError(said)
