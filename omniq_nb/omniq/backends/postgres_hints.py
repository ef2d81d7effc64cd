"""Hints over PostgreSQL's LISTEN and NOTIFY.

NOTIFY takes a lock of the whole server until its transaction has ended, so it is kept out of those that do the work: a
hint goes out after them, in a transaction of its own, and writes that follow each other closely share one. Only a write
that comes alone takes its hint along: there somebody may be waiting for it, and nobody for the lock. So does a large
one, of which there can't be many: its hint would take the connection that the next one needs. One connection listens;
when it breaks it is made anew, and everybody is woken, for a hint may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from ..errors import StoreError
from ..storage.watch import Watchers
from .postgres_errors import FOREIGN, translate

logger = logging.getLogger("omniq")

CHANGED, CLAIMABLE = "c", "q"
"""What a hint says: something changed; something changed that may be claimable."""

_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"
"""A hint is heard when its transaction has ended, which need not wait for the disk."""

_BURST, _PER_SECOND = 20, 100
"""Hints that may go out at once, and how many may go out for long."""
_ALONE_SECONDS = 0.005
"""A write comes alone if there was none for so long."""
_LARGE = 1000
"""A write of so many operations is large."""
_PING_SECONDS = 15.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class Hints:
    """The hints of one driver.

    Args:
        channel: The namespace's.
        store: Its URL, passwords masked.
        watchers: Who is told.
        connect: Gives a new connection.
        send: Executes a statement with its values on any connection.
        ping: Called now and then with the connection that listens: one that leads nowhere shows only when it is used.
    """

    def __init__(
        self,
        channel: str,
        store: str,
        watchers: Watchers,
        *,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        send: Callable[..., Awaitable[Any]],
        ping: Callable[[asyncpg.Connection], Awaitable[None]],
    ) -> None:
        self.channel = channel
        self._store = store
        self._watchers = watchers
        self._connect = connect
        self._send = send
        self._ping = ping
        self._id = secrets.token_hex(6)
        self._listening: asyncio.Task[None] | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._due: str | None = None
        self._wrote_at = 0.0
        self._allowance, self._allowance_at = float(_BURST), 0.0

    async def close(self) -> None:
        """Send what is due, and stop."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
        under_way = [each for each in (self._ringing, listening) if each is not None and _goes_on(each)]
        # Where the loop ends meanwhile, either of them may have been cancelled.
        await asyncio.gather(*under_way, return_exceptions=True)

    # --- sending ---

    def payload(self, *, claimable: bool, own: bool = True) -> str:
        """What a hint says, and who says it; nobody, where it should wake the driver's own watchers as well."""
        return f"{CLAIMABLE if claimable else CHANGED}{self._id if own else ''}"

    def along(self, operations: int, *, claimable: bool) -> str | None:
        """The hint that a write of so many operations takes along, if it comes alone or is large."""
        now = asyncio.get_running_loop().time()
        alone = now - self._wrote_at > _ALONE_SECONDS and not self._is_ringing()
        self._wrote_at = now
        return self.payload(claimable=claimable) if alone or operations >= _LARGE else None

    def ring(self, *, claimable: bool, told: bool) -> None:
        """Wake the watchers of this driver now, and, unless they were told, those of others soon."""
        self._watchers.notify(claimable=claimable, own=True)
        self._wrote_at = asyncio.get_running_loop().time()
        if told:
            return
        if self._due is None or claimable:
            self._due = self.payload(claimable=claimable)
        if not self._is_ringing():
            self._ringing = asyncio.create_task(self._ring_all())

    def _is_ringing(self) -> bool:
        return self._ringing is not None and _goes_on(self._ringing)

    async def _ring_all(self) -> None:
        try:
            while self._due is not None:
                await self._await_allowance()
                payload, self._due = self._due, None
                await self._send(_NOTIFY, self.channel, payload)
        except StoreError as error:
            self._due = None
            logger.debug("a hint could not be sent: %s", error)

    async def _await_allowance(self) -> None:
        now = asyncio.get_running_loop().time()
        self._allowance = min(self._allowance + (now - self._allowance_at) * _PER_SECOND, _BURST) - 1
        self._allowance_at = now
        if self._allowance < 0:
            await asyncio.sleep(-self._allowance / _PER_SECOND)

    # --- listening ---

    def listen(self) -> None:
        """Pass on what others say, from soon on and until the driver is closed."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen_forever())

    async def _listen_forever(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            try:
                await self._listen()
                pause = _SHORTEST_PAUSE
            except (asyncpg.FeatureNotSupportedError, asyncpg.ReadOnlySQLTransactionError) as error:
                logger.info("the server can't LISTEN, so changes are found by polling: %s", error)
                return
            except FOREIGN as error:
                logger.debug("listening is interrupted: %s", translate(error, self._store))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        """Listen until the connection is lost."""
        connection = await self._connect()
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(self.channel, self._heard)
            self._watchers.notify(claimable=True, own=False)  # what came before may have been missed
            while not await _happens(lost, _PING_SECONDS):
                await self._ping(connection)
        finally:
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        kind, sender = str(payload)[:1], str(payload)[1:]
        if sender != self._id:
            self._watchers.notify(claimable=kind == CLAIMABLE, own=False)


async def _happens(event: asyncio.Event, timeout: float) -> bool:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _goes_on(task: asyncio.Task[None]) -> bool:
    """Whether a task is under way. One whose loop ended before its first step did nothing, not even tidy up."""
    return not task.done() and task.get_loop() is asyncio.get_running_loop()
