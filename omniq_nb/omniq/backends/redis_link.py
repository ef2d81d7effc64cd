"""The connection to the server that holds a store: calls are pipelined on it, and it comes back by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from redis import exceptions as errors
from redis.asyncio.connection import Connection
from redis.crc import key_slot

from .redis_errors import UnansweredError, UnsentError
from .redis_place import Address, Place
from .redis_scripts import Script
from .redis_wire import Wire

_PING = b"*1\r\n$4\r\nPING\r\n"
_MOVES = 5
"""How often one call follows a slot that moves."""

_NOT_CARRIED_OUT = (
    errors.AskError,
    errors.BusyLoadingError,
    errors.ClusterDownError,
    errors.MasterDownError,
    errors.TryAgainError,
)


@asynccontextmanager
async def connected(place: Place, address: Address) -> AsyncIterator[Connection]:
    """A connection for a single use."""
    connection = await connect(place, address)
    try:
        yield connection
    finally:
        await connection.disconnect()


async def connect(place: Place, address: Address) -> Connection:
    """An open connection.

    Raises:
        UnsentError: The server can't be reached.
        RedisError: It refuses the user or the database.
    """
    connection = place.connection(address)
    try:
        async with asyncio.timeout(place.patience):
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py types it in part
    except (TimeoutError, errors.TimeoutError, OSError) as error:
        raise UnsentError(f"{address} did not answer") from error
    except errors.AuthenticationError:
        raise
    except errors.ConnectionError as error:
        raise UnsentError(str(error)) from error
    finally:
        if not connection.is_connected:
            # A half-made connection keeps its socket otherwise.
            await connection.disconnect(nowait=True)
    return connection


class Pipe:
    """One connection. Calls are sent at once, one after the other, and answered in that order.

    Args:
        connection: Open.
        patience: Seconds within which the server must answer; else the connection counts as lost.
    """

    def __init__(self, connection: Connection, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._unanswered: deque[tuple[float, asyncio.Future[Any] | None]] = deque()
        self._watching: asyncio.TimerHandle | None = None
        self._wire = Wire(connection, self._resolve)
        self._wire.lost.add_done_callback(self._lose)

    @property
    def is_open(self) -> bool:
        """Whether calls can be sent."""
        return not self._wire.lost.done()

    def call(self, command: tuple[Any, ...], *, tells: bool = False) -> asyncio.Future[Any]:
        """Send a command; gives its answer to come.

        Args:
            command: Its parts.
            tells: It tells those who listen, who should hear of it before the caller does. The server sends to those
                first who were the last to get something to be sent: who has just got the answer to another little
                command is not the last any more.
        """
        if self._wire.lost.done():
            raise UnsentError(str(self._wire.lost.exception()))
        self._wire.send(command, first=_PING if tells else b"")
        if tells:
            self._expect(None)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._expect(answer)
        return answer

    def _expect(self, answer: asyncio.Future[Any] | None) -> None:
        self._unanswered.append((self._loop.time(), answer))
        if self._watching is None:
            self._watching = self._loop.call_later(self._patience, self._watch)

    def _watch(self) -> None:
        """One timer for all calls, as long as there are any: a timer for each would cost more than the call."""
        self._watching = None
        if not self._unanswered:
            return
        silent = self._loop.time() - max(self._unanswered[0][0], self._wire.heard_at)
        if silent < self._patience:
            self._watching = self._loop.call_later(self._patience - silent, self._watch)
        else:
            self._wire.drop(errors.TimeoutError(f"no answer within {self._patience:g} s"))

    def _resolve(self, answer: Any) -> None:
        _, future = self._unanswered.popleft()
        if future is None or future.done():
            return  # nobody wants to know, or its caller was cancelled
        if isinstance(answer, Exception):
            _fail(future, answer)
        else:
            future.set_result(answer)

    def _lose(self, lost: asyncio.Future[None]) -> None:
        error = lost.exception()
        while self._unanswered:
            _, future = self._unanswered.popleft()
            if future is not None and not future.done():
                unanswered = UnansweredError(str(error))
                unanswered.__cause__ = error
                _fail(future, unanswered)
        if self._watching is not None:
            self._watching.cancel()

    async def close(self) -> None:
        """Let go of the connection; what is still unanswered fails."""
        await self._wire.close()


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # whoever is interested asks for it


class Sent(NamedTuple):
    """A call that is on its way."""

    pipe: Pipe
    answer: asyncio.Future[Any]


class Link:
    """Whatever server holds a store now: a single one, or the cluster's node that has its slot.

    Args:
        place: The store.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._meta = f"{place.prefix}meta".encode()
        self._slot = key_slot(self._meta)
        self._known = list(place.seeds)
        self._owner: Address | None = None if place.cluster else place.seeds[0]
        self._pipe: Pipe | None = None
        self._connecting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def meta(self) -> bytes:
        """The key that stands for all others."""
        return self._meta

    def send(self, script: Script, *arguments: Any) -> Sent | None:
        """Send a script's call at once, for `run` to await its answer. ``None``: nothing is connected now."""
        pipe = self._pipe
        if pipe is None or not pipe.is_open:
            return None
        return Sent(pipe, pipe.call(self._running(script, arguments), tells=script.tells))

    def _running(self, script: Script, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return "EVALSHA", script.digest, 1, self._meta, *arguments

    async def run(self, script: Script, *arguments: Any, sent: Sent | None = None) -> Any:
        """Run a script.

        Args:
            script: The script.
            *arguments: Its arguments.
            sent: The call, if it was sent already.

        Raises:
            RedisError: `UnansweredError` if it may have run.
        """
        try:
            return await self._call(self._running(script, arguments), tells=script.tells, sent=sent)
        except errors.NoScriptError:
            return await self.call("EVAL", script.source, 1, self._meta, *arguments)

    async def call(self, *command: Any) -> Any:
        """Send a command to the server that holds the store.

        Raises:
            RedisError: `UnansweredError` if it may have been carried out.
        """
        return await self._call(command)

    async def _call(self, command: tuple[Any, ...], *, tells: bool = False, sent: Sent | None = None) -> Any:
        for _ in range(_MOVES):
            if sent is None:
                pipe = self._pipe
                if pipe is None or not pipe.is_open:
                    pipe = await self._reconnect()
                sent = Sent(pipe, pipe.call(command, tells=tells))
            (pipe, answer), sent = sent, None
            try:
                return await answer
            except errors.MovedError as error:
                self._follow(pipe, error)
            except errors.ReadOnlyError:
                # After a failover the address may already lead to another server, while the old one lives on.
                self._leave(pipe)
                raise
            except _NOT_CARRIED_OUT as error:
                raise UnsentError(f"{type(error).__name__}: {error}") from error
        raise UnsentError("the store's slot moves all the time")

    def _follow(self, pipe: Pipe, moved: errors.MovedError) -> None:
        if self._pipe is pipe:
            host = moved.host or (self._owner or self._known[0]).host
            self._owner = Address(host, moved.port)
            self._leave(pipe)

    def _leave(self, pipe: Pipe) -> None:
        """Have the next call connect anew."""
        if self._pipe is pipe:
            self._pipe = None
            task = asyncio.create_task(pipe.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _reconnect(self) -> Pipe:
        async with self._connecting:
            if self._pipe is not None and self._pipe.is_open:
                return self._pipe
            if self._pipe is not None:
                await self._pipe.close()
            if self._is_closed:
                raise UnsentError("the connection was closed")
            connection = await self.connect()
            self._pipe = Pipe(connection, self.place.patience)
            return self._pipe

    async def connect(self) -> Connection:
        """A connection of its own to the server that holds the store.

        Raises:
            UnsentError: It can't be reached.
        """
        if not self.place.cluster:
            assert self._owner is not None
            return await connect(self.place, self._owner)
        failure: errors.RedisError | None = None
        for address in dict.fromkeys([*([self._owner] if self._owner else []), *self._known, *self.place.seeds]):
            try:
                connection = await connect(self.place, address)
            except UnsentError as error:
                failure = error
                continue
            owner = await self._locate(connection, address)
            if owner == address:
                return connection
            await connection.disconnect()
            self._owner = owner
            return await connect(self.place, owner)
        raise failure or UnsentError("no node of the cluster is known")

    async def _locate(self, connection: Connection, address: Address) -> Address:
        """Ask a node who has the store's slot."""
        try:
            await connection.send_command("CLUSTER", "SLOTS")
            slots = await connection.read_response()
        except (errors.ResponseError, OSError) as error:
            await connection.disconnect()
            raise UnsentError(str(error)) from error
        nodes = [(first, last, [_node(each, address) for each in holders]) for first, last, *holders in slots]
        self._known = [node for _, _, holders in nodes for node in holders]
        for first, last, holders in nodes:
            if first <= self._slot <= last:
                return holders[0]
        await connection.disconnect()
        raise UnsentError(f"no node of the cluster has slot {self._slot}")

    async def close(self) -> None:
        """Let go of the server."""
        self._is_closed = True
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            await pipe.close()
        if self._closing:
            await asyncio.wait(self._closing)


def _node(described: list[Any], asked: Address) -> Address:
    host, port, *_ = described
    name = host.decode() if isinstance(host, bytes) else host
    # A node that does not know its own name means the one by which it was asked.
    return Address(asked.host if name in (None, "", "?") else name, port)
