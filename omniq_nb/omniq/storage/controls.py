"""Pausing and resuming queues: one control record for each queue that was ever paused."""

from __future__ import annotations

import asyncio
import logging
import math

from ..errors import StoreError
from ..models.event import TaskEvent
from ..models.record import Filter, Insert, Record, Replace
from ..models.task import TASK
from .driver import Driver
from .outbox import Outbox, write_with_event

logger = logging.getLogger("omniq")

CONTROL = "queue"
"""Kind of a queue's control record."""
PAUSED, ACTIVE = "paused", "active"
_PAUSED_SECONDS = 0.25
_CONFLICTS = 20
_PAGE = 8
"""Few queues are paused; drivers read few records sooner."""


class QueueControls:
    """Which queues are paused.

    Args:
        driver: The tasks' store.
        outbox: For the events.
    """

    def __init__(self, driver: Driver, outbox: Outbox) -> None:
        self._driver = driver
        self._outbox = outbox
        self._paused: frozenset[str] = frozenset()
        self._paused_until = 0.0

    async def set_state(self, queue: str, state: str, event_type: str) -> None:
        """Pause or resume a queue.

        Raises:
            StoreError: Others change it all the time.
        """
        for _ in range(_CONFLICTS):
            (old,) = await self._driver.get([(CONTROL, queue)])
            now = self._driver.clock()
            created = now if old is None else old.created_at
            # Due at once: the write wakes the workers, so that a resumed queue goes on without waiting for a poll.
            new = Record(CONTROL, queue, queue, state, 0, now, None, 0, 1, created, now, None, b"")
            op = Insert(new) if old is None else Replace(new, old)
            if await write_with_event(self._driver, self._outbox, op, TaskEvent(now, event_type, queue=queue)):
                self._paused_until = 0.0
                await self._end_standing()
                return
        raise StoreError(self._driver.url, f"the queue {queue!r} is being paused and resumed all the time")

    async def _end_standing(self) -> None:
        """Claims that stand do not know of the change; their owners claim again, since the change woke them."""
        try:
            await self._driver.end_standing(TASK)
        except StoreError as error:
            logger.warning("workers that wait may hear of it a moment later: %s", error)

    async def paused(self) -> frozenset[str]:
        """The queues that are paused."""
        pages = self._driver.pages(Filter(kind=CONTROL, state=PAUSED), _PAGE)
        return frozenset([record.key async for records in pages for record in records])

    async def paused_lately(self) -> tuple[frozenset[str], float]:
        """The queues that are paused, and for how many seconds this is gone by now: asked at every claim.

        It may have changed since it was read, unless it was read for this very call: then it is gone by until there is
        a hint, and the seconds are endless.
        """
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return self._paused, self._paused_until - now
        self._paused = await self.paused()
        self._paused_until = now + _PAUSED_SECONDS
        return self._paused, math.inf
