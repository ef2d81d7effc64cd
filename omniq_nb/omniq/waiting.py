"""Waiting for outcomes: one watcher for all of an app's handles, however many are awaited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from .errors import NotOpenError, StoreUnavailableError, TaskNotFoundError
from .models.record import Record
from .storage.driver import Driver
from .storage.results import BaseResultStorage, StoredOutcome
from .storage.watch import Watcher

logger = logging.getLogger("omniq")

_PAGE = 500
_AWAY_SECONDS = 0.5
_REST = 4
"""After a look at all awaited tasks it rests for so many times what the look took: a fifth of the time at most."""


class OutcomeWaiter:
    """Resolves futures as tasks end.

    Tasks that the app itself ends, by its workers or a cancellation, are looked up at once (`ended`); the others when
    somebody else has changed the store, and at every poll interval.

    Args:
        results: Where outcomes are read.
        driver: Whose changes are watched.
        poll_interval: Seconds between looks without a hint.
    """

    def __init__(self, results: BaseResultStorage, driver: Driver, poll_interval: float) -> None:
        self._results = results
        self._driver = driver
        self.poll_interval = poll_interval
        self._waiting: dict[str, list[asyncio.Future[StoredOutcome]]] = {}
        self._urgent: set[str] = set()
        self._changes: Watcher | None = None
        self._watching: asyncio.Task[None] | None = None
        self._rest_until = 0.0

    def wait(self, task_id: str) -> asyncio.Future[StoredOutcome]:
        """A future for the task's outcome. Cancelling it is fine."""
        future: asyncio.Future[StoredOutcome] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(task_id, []).append(future)
        self._urge([task_id])
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="omniq-outcomes")
        return future

    def ended(self, task_ids: Sequence[str]) -> None:
        """The app itself has ended these."""
        if self._waiting:
            self._urge(task_id for task_id in task_ids if task_id in self._waiting)

    def _urge(self, task_ids: Iterable[str]) -> None:
        self._urgent.update(task_ids)
        if self._urgent and self._changes is not None:
            self._changes.notify()

    async def close(self) -> None:
        """Give up on what is awaited."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        for future in self._take_all():
            future.set_exception(NotOpenError("AsyncOmniQ"))

    def _take_all(self) -> list[asyncio.Future[StoredOutcome]]:
        waiting, self._waiting = self._waiting, {}
        return [future for futures in waiting.values() for future in futures if not future.done()]

    async def _watch(self) -> None:
        try:
            with self._driver.watch(others=True) as self._changes:
                await self._watch_patiently(self._changes)
        except Exception as error:  # noqa: BLE001 -- whoever waits gets it: else he would wait for ever
            for future in self._take_all():
                future.set_exception(error)
        finally:
            self._changes = self._watching = None

    async def _watch_patiently(self, changes: Watcher) -> None:
        """Go on when a store that is away comes back: the tasks go on meanwhile, and whoever awaits them too."""
        away = False
        while self._waiting:
            try:
                await self._watch_changes(changes, look_at_all=away)
            except StoreUnavailableError as error:
                if not away:
                    logger.warning("awaited results have to wait for their store: %s", error)
                away = True
                await asyncio.sleep(_AWAY_SECONDS)

    async def _watch_changes(self, changes: Watcher, *, look_at_all: bool) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting:
            if self._urgent:
                urgent, self._urgent = self._urgent, set()
                await self._look([task_id for task_id in urgent if task_id in self._waiting])
                continue
            rest = self._rest_until - clock()
            if look_at_all and rest <= 0:
                look_at_all = False
                began = clock()
                await self._look(list(self._waiting))
                self._rest_until = clock() + _REST * (clock() - began)
                continue
            await changes.wait(rest if look_at_all else self.poll_interval)
            # Forgotten here and nowhere else: a hint that comes during a look asks for another one.
            changes.clear()
            look_at_all = True

    async def _look(self, task_ids: list[str]) -> None:
        for start in range(0, len(task_ids), _PAGE):
            page = task_ids[start : start + _PAGE]
            # Who comes during the look may have put the task back into the queue before: it says nothing to him.
            asked = {task_id: len(self._waiting.get(task_id, ())) for task_id in page}
            for task_id, outcome in zip(page, await self._results.outcomes(page), strict=True):
                if not isinstance(outcome, Record):
                    self._resolve(task_id, outcome, asked[task_id])
            for task_id in page:
                self._drop_cancelled(task_id)

    def _resolve(self, task_id: str, outcome: StoredOutcome | None, asked: int) -> None:
        waiting = self._waiting.pop(task_id, [])
        if waiting[asked:]:
            self._waiting[task_id] = waiting[asked:]
        for future in waiting[:asked]:
            if future.done():
                continue
            if outcome is None:
                future.set_exception(TaskNotFoundError(task_id))
            else:
                future.set_result(outcome)

    def _drop_cancelled(self, task_id: str) -> None:
        futures = self._waiting.get(task_id)
        if futures and all(future.done() for future in futures):
            del self._waiting[task_id]
