"""Claims on NATS, asked for and left standing: written only where that changes anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from ..clock import Clock
from ..errors import NotOpenError, StoreError
from ..models.record import Record
from ..storage.handed import HandedOver
from ..storage.watch import Watchers
from .nats_replica import Outcome
from .nats_store import Store
from .nats_wire import Request, Row, Take, Unstand, record_of

logger = logging.getLogger("omniq")


class Claims:
    """One driver's claims.

    Args:
        store: Gives the open store.
        clock: The driver's.
        submit: Writes a request; gives the outcomes of its operations.
        catch_up: Brings the replica to the log's end.
        read: Gives the claimer's own records for rows, with their bodies, or empty ones where those are gone.
        watchers: Are notified when something was handed over.

    Attributes:
        handed: What was handed over and not yet fetched.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        clock: Clock,
        submit: Callable[[Request], Awaitable[list[Outcome]]],
        catch_up: Callable[[], Awaitable[None]],
        read: Callable[[Sequence[Row]], Awaitable[list[Record]]],
        watchers: Watchers,
    ) -> None:
        self._store = store
        self._clock = clock
        self._submit = submit
        self._catch_up = catch_up
        self._read = read
        self._watchers = watchers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading: set[asyncio.Task[None]] = set()
        self.handed = HandedOver()

    def opened(self) -> None:
        """The driver is being opened on the running loop."""
        self._loop = asyncio.get_running_loop()

    async def finish(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._reading)

    async def claim(self, take: Take) -> list[Record]:
        """Claim, and leave the claim standing where it says so and finds nothing."""
        if take.lasts:
            self.handed.await_for(take.owner)
        if self._changes_nothing(take):
            await self._catch_up()
            if self._changes_nothing(take):
                return []
        (rows,) = await self._submit([take])
        assert isinstance(rows, list)
        return await self._read(rows)

    def _changes_nothing(self, take: Take) -> bool:
        """Whether a claim would find nothing, and stands already, for a while, if it is to stand."""
        now = self._clock()
        with self._store().state as replica:
            shelf = replica.shelves.get(take.kind)
            if take.limit > 0 and shelf is not None and shelf.has_due(take.partitions, take.excluding, now):
                return False
            stands = replica.stands(take.kind, take.owner)
        if stands is None or not take.lasts:
            return stands is None and not take.lasts
        earlier, until = stands
        return until - now > take.lasts // 2 and replace(earlier, now=take.now) == take

    async def end_standing(self, kind: str, owner: str | None) -> None:
        """See `Driver.end_standing`."""
        if owner is not None:
            with self._store().state as replica:
                if replica.stands(kind, owner) is None:
                    return
        await self._submit([Unstand(kind, owner)])

    def receive(self, owner: str, rows: list[Row]) -> None:
        """Keep what was handed over, if it was to an owner of this driver's; called from any thread."""
        if not self.handed.awaits(owner):
            return
        if all(row.blob is None for row in rows):
            self.handed.add(owner, [record_of(row) for row in rows])
            self._watchers.notify(claimable=True, own=False)
        elif self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the owner has gone with it
                self._loop.call_soon_threadsafe(self._read_soon, owner, rows)

    def _read_soon(self, owner: str, rows: list[Row]) -> None:
        task = asyncio.ensure_future(self._read_and_keep(owner, rows))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read_and_keep(self, owner: str, rows: list[Row]) -> None:
        try:
            self.handed.add(owner, await self._read(rows))
        except (StoreError, NotOpenError) as error:
            logger.warning("%d tasks come again soon, since their arguments can't be read now: %s", len(rows), error)
        self._watchers.notify(claimable=True, own=False)
