"""Pausing and resuming queues: one control record for each queue that was ever paused."""

from __future__ import annotations

import logging
import math
import time

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
_LATELY_SECONDS = 0.25
"""For how long claims share what was read of the paused queues, whatever is hinted meanwhile: hints come with each task
that is enqueued, and few of them tell of a queue that was paused or resumed."""
_UNTOLD_SECONDS = 1.0
"""How often workers look for paused and resumed queues in a store that tells nobody of changes."""
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
        self._read_at = -math.inf

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
                self._read_at = -math.inf
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
        """The queues that are paused, and when they were read, by `time.monotonic`: asked at every claim."""
        now = time.monotonic()
        if now - self._read_at < _LATELY_SECONDS:
            return self._paused, self._read_at
        paused = await self.paused()
        if now > self._read_at:  # else another call has asked later, and was answered sooner
            self._paused, self._read_at = paused, now
        return paused, now

    def good_for(self, read_at: float, hinted_at: float) -> float:
        """Seconds for which a worker without enough to do may rely on what it claimed with.

        What was read after the last hint is right until there is another one, where the store gives hints.

        Args:
            read_at: When the paused queues were read.
            hinted_at: When the worker last heard that something may have changed.
        """
        if read_at <= hinted_at:
            return max(0.0, read_at + _LATELY_SECONDS - time.monotonic())
        return math.inf if self._driver.hears else _UNTOLD_SECONDS
