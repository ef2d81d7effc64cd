"""Events on their way to the log: they follow what they tell of, and never make it fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..errors import NotOpenError, StoreError
from ..models.event import TaskEvent
from ..models.record import Append, Op
from .driver import Driver

logger = logging.getLogger("omniq")

NOTED_SECONDS = 0.05
"""An event that may wait goes out with the next write, or alone after this time."""
_AGAIN_SECONDS = 1.0
_PATIENCE_SECONDS = 1.0
"""So long a caller waits for a store that does not answer."""
_LAST_SECONDS = 10.0
"""So long the end waits for a store that does not answer."""
_KEPT = 100_000
"""Events of an outage that are kept at most: some 30 MB."""


class Outbox:
    """Events for a store, those that may wait a moment among them.

    What happened is true once its record is written. So where only the events' store is away, its caller is told of
    success, and the events are kept and tried again.

    Args:
        driver: The events' store.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._waiting: list[TaskEvent] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()
        self._is_away = self._is_late = self._is_closed = False

    def note(self, events: Sequence[TaskEvent], loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        """Have events written with the next settlement, or soon."""
        self._waiting.extend(events)
        if self._timer is None and self._waiting:  # only then is the loop asked for: it takes a system call
            self._timer = loop().call_later(NOTED_SECONDS, self._flush_soon)

    def take(self) -> tuple[TaskEvent, ...]:
        """The events that wait, to be written by the caller, who has to `put_back` what he could not write."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken, self._waiting = tuple(self._waiting), []
        return taken

    def put_back(self, events: Sequence[TaskEvent]) -> None:
        """Keep events that could not be written, for the next write or a later try."""
        if self._is_closed:
            _tell_of_loss(len(events), "their store was closed")
            return
        self._waiting[:0] = events
        if len(self._waiting) > _KEPT:
            dropped = len(self._waiting) - _KEPT
            del self._waiting[:dropped]
            logger.error("the events' store is away for too long: the %d oldest events that wait are dropped", dropped)
        self._try_again_later()

    def _try_again_later(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._flush_soon)

    async def tell(self, events: Sequence[TaskEvent]) -> None:
        """Write events now, with those that wait; where their store is away, or does not answer, later."""
        self._waiting.extend(events)
        if not self._waiting:
            return
        if self._is_late:
            self._try_again_later()
            return
        writing = self._flush_soon()
        await asyncio.wait([writing], timeout=_PATIENCE_SECONDS)
        self._is_late = not writing.done()
        if writing.done():
            writing.result()

    async def flush(self) -> None:
        """Write the events that wait.

        Raises:
            StoreError: They could not be written, and wait again.
        """
        if not (events := self.take()):
            return
        try:
            await self.driver.write([Append(events)])
            self._is_late = False
        except Exception:  # not when cancelled: it may have been carried out, and no event is better than two
            self.put_back(events)
            raise
        self._is_away = False

    def open(self) -> None:
        """Begin, also once more after `close`."""
        self._is_closed = False

    async def close(self) -> None:
        """Write the events that wait, before their store is closed; those that can't be written are lost.

        What they tell of is done all the same: it would not help its caller if closing failed.
        """
        self._is_closed = True
        events = self.take()
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                if events:
                    await self.driver.write([Append(events)])
                    events = ()
                if self._writing:
                    await asyncio.wait(self._writing)
        except TimeoutError:
            _tell_of_loss(len(events), "their store does not answer")
        except NotOpenError:
            _tell_of_loss(len(events), "their store could not be opened")
        except StoreError as error:
            _tell_of_loss(len(events), error)

    async def flush_patiently(self) -> None:
        """Write the events that wait; where their store is away, later."""
        try:
            await self.flush()
        except NotOpenError:  # it was closed meanwhile, or could not be opened yet, of which others tell
            logger.debug("the events' store is not open")
        except StoreError as error:
            if not self._is_away and not self._is_closed:  # one line for an outage, however long it takes
                logger.error("events are kept until their store is back: %s", error)
            self._is_away = True

    def _flush_soon(self) -> asyncio.Task[None]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        task = asyncio.ensure_future(self.flush_patiently())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return task


def _tell_of_loss(number: int, reason: object) -> None:
    if number:
        logger.error("%d events could not be written before the end, and are lost: %s", number, reason)


async def write_with_event(driver: Driver, outbox: Outbox, op: Op, event: TaskEvent) -> bool:
    """Carry out an operation, with an event if it applied; says whether it did."""
    if outbox.driver is driver:
        return (await driver.write([op, Append((event,), 0)]))[0]
    (applied,) = await driver.write([op])
    if applied:
        await outbox.tell((event,))
    return applied
