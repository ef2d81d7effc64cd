"""A small TCP proxy between a client and a server, that cuts, stalls and half-opens connections when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Proxy:
    """Forwards from a free loopback port to another port.

    Args:
        port: Where the server listens.

    Attributes:
        port: Where clients connect; set once it is open.
        port_behind: Where the server listens, for new connections.
        refuses: New connections are closed at once.
        stalls: Nothing is forwarded, in either direction; connections stay open, and new ones are accepted.
        held: How many pieces of requests and answers came meanwhile.
        swallows_answers: Requests reach the server, its answers don't reach the client.
        swallowed: How many pieces of answers did not.
    """

    def __init__(self, port: int) -> None:
        self.port_behind = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0
        self.refuses = False
        self.swallows_answers = False
        self.held = self.swallowed = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self._flows.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection, as a pulled cable with a reset does."""
        for writer in self._writers:
            writer.transport.abort()

    @property
    def stalls(self) -> bool:
        return not self._flows.is_set()

    @stalls.setter
    def stalls(self, stalls: bool) -> None:
        if stalls:
            self._flows.clear()
        else:
            self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.port_behind)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        for source, target, is_answer in ((reader, up_writer, False), (up_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, target, is_answer=is_answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                self.held += self.stalls
                await self._flows.wait()
                if is_answer and self.swallows_answers:
                    self.swallowed += 1
                else:
                    target.write(data)
                    await target.drain()
        self._writers.discard(target)
        target.close()
