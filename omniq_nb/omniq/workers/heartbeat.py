"""Heartbeats, from a thread of their own: user code that blocks the loop must not cost a live worker its leases.

The thread has its own event loop and its own connection. It extends the leases, notices within moments when one was
taken away, reports that the worker is there, and does the maintenance.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Set
from typing import Any

from ..clock import SECOND
from ..core.settlement import Claimed, ClaimToken
from ..errors import StoreError
from ..models.task import TASK
from ..storage.driver import Driver
from ..storage.endings import each_of
from ..storage.large import LargeValues
from ..storage.maintenance import Maintenance
from ..storage.queue import BaseTaskQueue
from ..storage.workers import WorkerInfo, WorkerRegistry
from .outage import Outage

logger = logging.getLogger("omniq")

_BEAT, _MAINTAIN = "send heartbeats", "do the maintenance"
_LAST_SECONDS = 3.0
"""So long, once it is to end, it waits for an answer of its store."""
_END_SECONDS = 10.0
"""So long its end is waited for. Later it comes by itself: calls that get no answer fail in the end."""
_CHECK_SECONDS = 0.25
"""How soon after a change of the store the running tasks are looked at for a cancellation, and how often at most."""


class Stores:
    """Unopened drivers for the heartbeat's loop; components that share a store share a driver."""

    def __init__(
        self,
        queue: Driver,
        results: Driver,
        events: Driver,
        large: LargeValues | None = None,
        event_retention: float | None = None,
    ) -> None:
        drivers = [queue, results, events] + ([large.driver] if large is not None else [])
        clones: dict[int, Driver] = {id(driver): driver.clone() for driver in drivers}
        self.queue, self.results, self.events = clones[id(queue)], clones[id(results)], clones[id(events)]
        self.large = None if large is None else large.over(clones[id(large.driver)], self.queue)
        self.event_retention = event_retention
        self.all = tuple(clones.values())


class Heartbeat:
    """The thread.

    Args:
        stores: Where the leases are.
        worker: The pool's name.
        running: The tasks that run now; called from the thread.
        info: What the worker reports of itself; called from the thread.
        on_lost: Called from the thread with each claim whose lease is gone.
        on_beating: Called from the thread when it has its connections.
        is_orphan: Whether nobody can stop it any more; called from the thread, it ends by itself then.
        lease: Seconds.
        interval: Seconds between heartbeats.
        outage: Says that a store is away.

    Attributes:
        is_beating: It has its connections: what the worker runs does not lose its lease.
    """

    def __init__(
        self,
        stores: Stores,
        worker: str,
        *,
        running: Callable[[], list[Claimed]],
        info: Callable[[], WorkerInfo],
        on_lost: Callable[[Claimed], None],
        on_beating: Callable[[], None],
        is_orphan: Callable[[], bool],
        lease: float,
        interval: float,
        outage: Outage,
    ) -> None:
        self._outage = outage
        self._stores = stores
        self._worker = worker
        self._running = running
        self._info = info
        self._on_lost = on_lost
        self._on_beating = on_beating
        self._is_orphan = is_orphan
        self._lease = round(lease * SECOND)
        self._interval = interval
        self._thread = threading.Thread(target=self._main, name=f"omniq-heartbeat-{worker}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._is_ending = False
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._unopened = [driver for driver in stores.all if driver is not stores.queue]
        self._taken_over: Set[ClaimToken] = frozenset()
        self.is_beating = False

    def start(self) -> None:
        """Start the thread."""
        self._ended.set_running_or_notify_cancel()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread and wait for it, without blocking the loop; not for ever, where its store does not answer."""
        self._is_ending = True
        if self._loop is not None and self._stop is not None:  # else it looks by itself
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                logger.debug("the heartbeat's loop has ended already")
        # Not by a thread that waits for it: an executor may be full, or take no more at the interpreter's end.
        ended = asyncio.wrap_future(self._ended)
        try:
            await asyncio.wait([ended], timeout=_END_SECONDS)
        finally:
            ended.cancel()  # should this loop be closed by then, nobody is to tell it
        if self._ended.done():
            self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        finally:
            self._ended.set_result(None)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._is_ending:
            self._stop.set()
        stores = self._stores
        queue = BaseTaskQueue(stores.queue, results=stores.results, events=stores.events, large=stores.large)
        registry = WorkerRegistry(stores.queue, queue.outbox)
        maintenance = Maintenance(queue, stores.results, stores.events, stores.event_retention)
        try:
            while not self._stop.is_set():
                try:
                    try:
                        await self._beat_until_stopped(queue, registry, maintenance)
                    except Exception:
                        await stores.queue.close()
                        raise
                except Exception as error:  # noqa: BLE001 -- a worker without heartbeats would lose every lease
                    # The leases go on until they end; perhaps the store is back before.
                    self._outage.failed(_BEAT, error)
                    await self._pause(min(1.0, self._interval))
        finally:
            await each_of(lambda: self._end_events(queue), *(driver.close for driver in stores.all))

    async def _end_events(self, queue: BaseTaskQueue) -> None:
        if (events := self._stores.events) in self._unopened:
            # Its life was short, or their store is away.
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await events.open()
        await queue.outbox.close()

    async def _pause(self, seconds: float) -> None:
        assert self._stop is not None
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _beat_until_stopped(
        self, queue: BaseTaskQueue, registry: WorkerRegistry, maintenance: Maintenance
    ) -> None:
        # Leases are in the queue's store alone: whatever becomes of the others, they must be kept.
        await self._stores.queue.open()
        self.is_beating = True
        self._on_beating()
        sweeping = asyncio.create_task(self._maintain(maintenance))
        beats = [asyncio.create_task(self._beat(queue, registry)), asyncio.create_task(self._watch(queue))]
        try:
            answers = await self._ended_soon(asyncio.gather(*beats))
        finally:
            self.is_beating = False
            for each in (*beats, sweeping):
                each.cancel()
            await asyncio.gather(*beats, sweeping, return_exceptions=True)
        if answers:
            with contextlib.suppress(TimeoutError):  # who does not sign off is taken for gone after a while
                async with asyncio.timeout(_LAST_SECONDS):
                    await registry.leave(self._worker)

    async def _ended_soon(self, beats: asyncio.Future[list[None]]) -> bool:
        """Wait until beats end by themselves; ``False``: they did not, after the stop, for want of an answer."""
        assert self._stop is not None
        stopped: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
        ends: list[asyncio.Future[Any]] = [beats, stopped]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([beats], timeout=_LAST_SECONDS)
        finally:
            stopped.cancel()
        if not beats.done():
            beats.add_done_callback(_retrieve)
            return False
        beats.result()
        return True

    async def _beat(self, queue: BaseTaskQueue, registry: WorkerRegistry) -> None:
        assert self._stop is not None
        while not self._stop.is_set():
            running = self._running()
            if running:
                kept = await queue.extend(running, self._lease)
                self._tell(task for task, still in zip(running, kept, strict=True) if not still)
            try:
                await registry.report(self._info())
            except StoreError as error:
                # A store that is full takes no report, and still extends leases.
                self._outage.failed(_BEAT, error)
            else:
                self._outage.worked(_BEAT)
            await self._pause(self._interval)

    async def _maintain(self, maintenance: Maintenance) -> None:
        # Beside the heartbeats, not between them: a sweep after a long absence may take longer than a lease.
        assert self._stop is not None
        while not self._stop.is_set():
            try:
                while self._unopened:
                    await self._unopened[-1].open()
                    self._unopened.pop()
                await maintenance.run_if_due(self._worker)
                self._outage.worked(_MAINTAIN)
            except Exception as error:  # noqa: BLE001 -- the next sweep may go well, and it is logged
                self._outage.failed(_MAINTAIN, error)
            await self._pause(self._interval)

    async def _watch(self, queue: BaseTaskQueue) -> None:
        """Notice lost leases within moments; of tasks that run for longer, as soon as the store says that it changed.

        Short ones would have this thread woken by each change, in the way of the loop that runs them.
        """
        assert self._stop is not None
        earlier: Set[ClaimToken] = frozenset()
        while not self._stop.is_set():
            if self._is_orphan():
                self._stop.set()
                return
            running = self._running()
            await self._look_at(queue, running)
            held = {task.token for task in running}
            if held & earlier:
                await self._watch_while_running(queue)
            earlier = held
            await self._pause(_CHECK_SECONDS)

    async def _watch_while_running(self, queue: BaseTaskQueue) -> None:
        assert self._stop is not None
        with queue.driver.watch() as changes:
            while not self._stop.is_set():
                changes.clear()
                if self._is_orphan() or not (running := self._running()):
                    return
                await self._look_at(queue, running)
                await self._pause(_CHECK_SECONDS)
                await changes.wait(_CHECK_SECONDS)

    async def _look_at(self, queue: BaseTaskQueue, running: list[Claimed]) -> None:
        if not running:
            return
        await self._take_over(queue, running)
        records = await queue.driver.get([(TASK, task.record.key) for task in running])
        self._tell(
            task
            for task, record in zip(running, records, strict=True)
            if record is None or record.version != task.record.version
        )

    async def _take_over(self, queue: BaseTaskQueue, running: list[Claimed]) -> None:
        """Extend the short leases of what was handed over and has not ended: once, heartbeats go on from there."""
        if not queue.driver.capabilities.hands_over:
            return
        short = {task.token: task for task in running if task.lease < self._lease}
        new = [task for token, task in short.items() if token not in self._taken_over]
        if new:
            kept = await queue.extend(new, self._lease)
            self._tell(task for task, still in zip(new, kept, strict=True) if not still)
        self._taken_over = short.keys()

    def _tell(self, lost: Iterable[Claimed]) -> None:
        for task in lost:
            self._on_lost(task)


def _retrieve(beats: asyncio.Future[list[None]]) -> None:
    """Look at an error that nobody waits for any more: asyncio would complain."""
    if not beats.cancelled():
        beats.exception()
