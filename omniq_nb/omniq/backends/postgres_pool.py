"""The connections of one driver."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from ..errors import ConfigError
from ..masking import mask_text
from .postgres_errors import FOREIGN, translate
from .postgres_url import Settings

_CLOSE_SECONDS = 10.0
_FEWER_SECONDS = 30.0
"""So long a pool does without the connection that the server could not give."""
_PLANS = {"jit": "off", "enable_seqscan": "off", "enable_bitmapscan": "off"}
"""A plan made while a table is small must be one by index all the same: it is kept while the table grows."""

_NO_PARAMETERS = (
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
)
"""At connecting: asyncpg hands what it does not know in a URL to the server, which knows it no better."""

_T = TypeVar("_T")


class Connections:
    """A pool, and single connections besides.

    Args:
        dsn: As asyncpg takes it.
        settings: See there.
        store: The store's URL, passwords masked.
    """

    def __init__(self, dsn: str, settings: Settings, store: str) -> None:
        self._dsn = dsn
        self._settings = settings
        self._store = store
        self._pool: asyncpg.Pool | None = None
        self._slots: asyncio.Semaphore
        self._connecting: set[asyncio.Task[asyncpg.Connection]] = set()

    def _arguments(self) -> dict[str, Any]:
        settings = self._settings
        arguments: dict[str, Any] = {
            "timeout": settings.timeout,
            "command_timeout": settings.timeout,
            "statement_cache_size": 100 if settings.prepared else 0,
            "max_cached_statement_lifetime": 0,
            "server_settings": {"application_name": "omniq", **(_PLANS if settings.prepared else {})},
        }
        return arguments if settings.ssl is None else {**arguments, "ssl": settings.ssl}

    async def open(self, prepare: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        """Connect, and prepare the store.

        Raises:
            StoreError: It can't be used.
            ConfigError: asyncpg can't read the URL.
        """
        pool: asyncpg.Pool | None = None
        self._slots = asyncio.Semaphore(self._settings.pool_size)  # one that was waited for belongs to that loop
        try:
            # No least size: the pool would see to it with a traceback in the log for each try while the server is away.
            pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=self._settings.pool_size,
                connect=self._connect,
                reset=_leave_as_it_is,
                **self._arguments(),
            )
            async with pool.acquire() as connection:
                await prepare(connection)
        except BaseException as error:
            if pool is not None:
                pool.terminate()
            await self._stop_connecting()
            if isinstance(error, ValueError):
                text = mask_text(str(error), self._dsn)
                raise ConfigError(f"asyncpg does not take the URL {self._store}: {text}") from error
            if isinstance(error, FOREIGN):
                raise translate(error, self._store, sent=False) from error
            raise
        self._pool = pool

    async def close(self) -> None:
        """Let go of all, once their calls have ended; of those that don't end, after some seconds."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*self._connecting, return_exceptions=True)
                await pool.close()
        except FOREIGN:  # a connection that leads nowhere, perhaps
            pool.terminate()
            await self._stop_connecting()

    async def single(self) -> asyncpg.Connection:
        """A connection beside the pool."""
        return await self._connect(self._dsn, **self._arguments())

    async def _connect(self, *where: Any, **arguments: Any) -> asyncpg.Connection:
        """Connect, to the end also when the caller is cancelled: in the midst of it, asyncpg would leave an error
        behind that nobody sees and of which asyncio complains.
        """
        connecting = asyncio.create_task(asyncpg.connect(*where, **arguments))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)
        try:
            return await asyncio.shield(connecting)
        except _NO_PARAMETERS as error:
            raise ConfigError(
                f"the URL {self._store} has a parameter that neither asyncpg nor the server knows, or with a value "
                f"that it can't have: {error}"
            ) from error
        except asyncio.CancelledError:
            connecting.add_done_callback(_let_go)
            raise

    async def _stop_connecting(self) -> None:
        for connecting in self._connecting:
            connecting.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)

    async def use(self, operation: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        """Carry out an operation on a connection of the pool.

        Raises:
            StoreError: There is no connection to be had.
            asyncpg.PostgresError: What the operation raises.
        """
        pool = self._pool
        assert pool is not None, "whoever calls this is open"
        try:
            connection = await self._acquire(pool)
        except FOREIGN as error:
            raise translate(error, self._store, sent=False) from error
        try:
            return await operation(connection)
        finally:
            await self._release(pool, connection)

    async def _acquire(self, pool: asyncpg.Pool) -> asyncpg.Connection:
        """A connection, and a slot with it. Where the server has no more to give, those that are there must do."""
        while True:
            await self._slots.acquire()
            try:
                return await pool.acquire()
            except asyncpg.TooManyConnectionsError:
                if not pool.get_size():
                    self._slots.release()
                    raise
                # With a slot less the pool is asked for a connection only when one is free.
                asyncio.get_running_loop().call_later(_FEWER_SECONDS, self._slots.release)
            except BaseException:
                self._slots.release()
                raise

    async def _release(self, pool: asyncpg.Pool, connection: asyncpg.Connection) -> None:
        try:
            # After an interrupted call asyncpg asks the server to give up, which a dead network would have it do for
            # ever. Whatever goes wrong here, the connection is closed, and that is all that matters.
            with contextlib.suppress(*FOREIGN):
                await pool.release(connection, timeout=_CLOSE_SECONDS)
        finally:
            self._slots.release()


def _let_go(connecting: asyncio.Task[asyncpg.Connection]) -> None:
    """End a connection that nobody waits for any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """What a connection needs between two calls: nothing, which saves a round trip for each."""
