"""Waiting for a store to change, without losing a change that comes between looking and waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Watcher:
    """One waiter's view of a store's changes. Use it in this order, and no hint can slip through::

        with driver.watch() as changes:
            while True:
                changes.clear()
                if look_whether_there_is_something():
                    break
                await changes.wait(poll_interval)

    It belongs to the event loop that it is used on; `notify` may be called from any thread.
    """

    def __init__(self, on_close: Callable[[Watcher], None], *, claimable: bool = False, others: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._is_hinted = False
        self._on_close = on_close
        self.claimable, self.others = claimable, others

    def clear(self) -> bool:
        """Forget the hints so far, and say whether there were any; call it before looking, not after."""
        was_hinted, self._is_hinted = self._is_hinted, False
        self._event.clear()
        return was_hinted

    async def wait(self, timeout: float) -> bool:
        """Wait for a hint, at most ``timeout`` seconds; says whether one came."""
        if not self._event.is_set():
            # A timer that sets the event is several times cheaper than wait_for, which makes a task for each wait.
            timer = self._loop.call_later(timeout, self._event.set)
            try:
                await self._event.wait()
            finally:
                timer.cancel()
        if not self._is_hinted:
            self._event.clear()
        return self._is_hinted

    def wake(self) -> None:
        """End the wait, or the next one, without a hint: nothing has changed in the store. Call it on the loop."""
        self._event.set()

    def notify(self) -> None:
        """Wake the waiter: something may have changed. Safe from any thread."""
        if self._is_hinted:
            return  # the waiter has not looked yet
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._hint()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._hint)

    def _hint(self) -> None:
        self._is_hinted = True
        self._event.set()

    def close(self) -> None:
        """Stop watching."""
        self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Watchers:
    """The watchers of one driver."""

    def __init__(self, on_first: Callable[[], None] = lambda: None, on_last: Callable[[], None] = lambda: None) -> None:
        self._all: set[Watcher] = set()
        self._on_first, self._on_last = on_first, on_last

    def add(self, *, claimable: bool, others: bool) -> Watcher:
        """A new watcher on the running loop; see `Driver.watch`."""
        watcher = Watcher(self._remove, claimable=claimable, others=others)
        self._all.add(watcher)
        if len(self._all) == 1:
            self._on_first()
        return watcher

    def _remove(self, watcher: Watcher) -> None:
        if watcher in self._all:
            self._all.remove(watcher)
            if not self._all:
                self._on_last()

    def notify(self, *, claimable: bool, own: bool) -> None:
        """Pass a hint on to those whom it concerns.

        Args:
            claimable: Something may have become claimable.
            own: The driver itself wrote it.
        """
        for watcher in tuple(self._all):
            if (claimable or not watcher.claimable) and not (own and watcher.others):
                watcher.notify()
