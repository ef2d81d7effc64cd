"""Feeds the views of one app from a thread of its own, with a connection of its own: it goes on while a cell is busy.

The thread runs while a view is open in which something can still happen. Its rests grow with the store's answer times,
so that it never takes more than a small share of the kernel's time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from .._version import __version__
from ..config import Config
from ..errors import OmniQError
from ..parts import Parts
from ..registry import Registry
from ..storage.watch import Watcher
from .actions import perform
from .board import SIGN_OF_LIFE, Board
from .model import Json
from .source import Source
from .store_name import store_name

logger = logging.getLogger("omniq")

PACE = 0.1
"""Seconds between messages at least: Jupyter's servers slow down kernels that send more."""
_REST = 4
"""After a look at the store the thread rests for so many times what the look took."""
_LONGEST_REST = 5.0
_RETRY_AFTER = (0.5, 1.0, 2.0, 5.0)
_SETTLED_AGAIN = 2.0
_SMALL = 500
_JOIN_SECONDS = 3.0
_LAST_SECONDS = 1.0
"""So long the thread still waits for its store once the app is closed."""


class App(Protocol):
    """What a publisher needs of an app."""

    config: Config
    registry: Registry

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""


class Publisher:
    """Tells an app's views what happens in its store, and carries out their commands.

    Args:
        app: Whose store.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self._lock = threading.Lock()
        self._boards: list[Board] = []
        self._inbox: deque[tuple[Board, Json]] = deque()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed_at: float | None = None
        # The rest belongs to the thread.
        self._source: Source | None = None
        self._changes: Watcher | None = None
        self._error: str | None = None
        self._commands: set[asyncio.Task[None]] = set()
        self._looked_at_all = 0.0

    # --- from any thread ---

    @property
    def is_closed(self) -> bool:
        """Whether the app was closed: its views rest for ever."""
        return self._closed_at is not None or self.app.is_closed

    @property
    def boards(self) -> tuple[Board, ...]:
        """The open views."""
        return tuple(self._boards)

    @property
    def is_running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def add(self, board: Board) -> None:
        """Feed a view from now on."""
        with self._lock:
            self._boards.append(board)
        self.post(board, {"op": "hello"})

    def remove(self, board: Board) -> None:
        """Feed a view no more."""
        with self._lock:
            if board in self._boards:
                self._boards.remove(board)
        self._nudge()

    def post(self, board: Board, command: Json) -> None:
        """Have a page's command carried out, soon, on the publisher's thread."""
        with self._lock:
            self._inbox.append((board, command))
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="omniq-publisher", daemon=True)
                self._thread.start()
        self._nudge()

    def close(self) -> None:
        """Tell the views that the app is closed, and end the thread."""
        with self._lock:
            thread = self._thread
            self._closed_at = self._closed_at or time.time() * 1000
            if thread is None:
                self._say_closed()
        self._nudge()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def _nudge(self) -> None:
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            logger.debug("the publisher's loop has ended already")

    # --- the thread ---

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._refreshing = asyncio.Lock()
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        failures = 0
        while not self._is_done():
            try:
                await self._publish_until_closed()
                failures = 0
            except OmniQError as error:
                self._report(str(error))
            except Exception as error:
                # The view says what is wrong, and the next look may go well.
                logger.exception("the views of %s can't be fed", store_name(self.app.config))
                self._report(f"{type(error).__name__}: {error}")
            if self._error is not None:
                self._woken.clear()
                await _pause(self._woken, _RETRY_AFTER[min(failures, len(_RETRY_AFTER) - 1)])
                failures += 1

    def _is_done(self) -> bool:
        with self._lock:
            self._boards = [board for board in self._boards if not board.sink.is_closed]
            if self.is_closed:
                self._say_closed()
            elif self._inbox or self._commands or any(not board.is_resting for board in self._boards):
                return False
            self._thread = self._loop = None
            return True

    async def _publish_until_closed(self) -> None:
        """Publish, and break it off where the app is closed while its store does not answer."""
        publishing = asyncio.create_task(self._publish())
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait([publishing, closing], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([publishing], timeout=_LAST_SECONDS)
        finally:
            closing.cancel()
        if not publishing.done():
            with self._lock:
                self._say_closed()
            for each in (publishing, *self._commands):
                each.cancel()
            await asyncio.wait([publishing])
        if not publishing.cancelled():
            publishing.result()

    async def _publish(self) -> None:
        parts = Parts(self.app.config, self.app.registry)
        await parts.open()
        try:
            with parts.queue.driver.watch() as self._changes:
                self._source = Source(parts)
                self._take_commands()
                await self._publish_changes(self._source, self._changes)
        finally:
            self._source = self._changes = None
            if self._commands:
                await asyncio.wait(self._commands)
            await parts.close()

    async def _publish_changes(self, source: Source, changes: Watcher) -> None:
        tick = min(self.app.config.poll_interval, SIGN_OF_LIFE)
        while not (self._is_idle() or self.is_closed):
            changes.clear()
            began = time.monotonic()
            await self._refresh(source, self.boards)
            took = time.monotonic() - began
            await _pause(self._closing, min(max(PACE, _REST * took), _LONGEST_REST))
            await changes.wait(tick)

    def _is_idle(self) -> bool:
        return not self._inbox and not self._commands and all(board.is_resting for board in self._boards)

    def _wake(self) -> None:
        self._woken.set()
        if self.is_closed:
            self._closing.set()
        self._take_commands()
        if self._changes is not None:
            self._changes.notify()

    # --- telling ---

    async def _refresh(
        self, source: Source, boards: Iterable[Board], *, asked: bool = False, everything: bool = False
    ) -> None:
        async with self._refreshing:
            open_boards = [board for board in boards if not board.sink.is_closed]
            shared = await source.read(frozenset().union(*(board.needs for board in open_boards)))
            self._error = None
            shared["app"] = self._about()
            now = time.monotonic()
            also_ended = asked or now - self._looked_at_all >= _SETTLED_AGAIN
            if also_ended:
                self._looked_at_all = now
            for board in open_boards:
                await self._refresh_one(
                    source, board, shared, asked=asked, everything=everything, also_ended=also_ended
                )

    async def _refresh_one(
        self, source: Source, board: Board, shared: Json, *, asked: bool, everything: bool, also_ended: bool
    ) -> None:
        found = {key: value for key, value in shared.items() if key == "app" or key in board.needs}
        renew_lists = asked or board.wants_list
        if not renew_lists:
            found.pop("events", None)
        if board.view == "dashboard" and renew_lists:
            found["tasks"] = await source.page(board.pager)
        if board.progress is not None:
            also_ended = asked or (also_ended and len(board.progress.ids) <= _SMALL)
            found["progress"] = await board.progress.look(source.parts, also_ended=also_ended)
        board.update(found, everything=everything)

    def _about(self) -> Json:
        return {
            "name": "OmniQ",
            "store": store_name(self.app.config),
            "version": __version__,
            "error": self._error,
            "closed_at": self._closed_at,
        }

    def _report(self, error: str) -> None:
        self._error = error
        while self._inbox:
            board, command = self._inbox.popleft()
            if command.get("op") != "hello":
                board.reply(command, error=error)
            _seen(command)
        for board in self.boards:
            if not board.sink.is_closed:
                board.update({"app": self._about()})

    def _say_closed(self) -> None:
        # Called with the lock held.
        self._closed_at = self._closed_at or time.time() * 1000
        for board in self._boards:
            board.update({"app": self._about()})
        for board, command in self._inbox:
            board.reply(command, error="the app was closed: nothing was done")
            _seen(command)
        self._boards.clear()
        self._inbox.clear()

    # --- commands ---

    def _take_commands(self) -> None:
        source = self._source
        while source is not None and self._inbox:
            board, command = self._inbox.popleft()
            task = asyncio.ensure_future(self._carry_out(source, board, command))
            self._commands.add(task)
            task.add_done_callback(self._commands.discard)

    async def _carry_out(self, source: Source, board: Board, command: Json) -> None:
        try:
            if command.get("op") == "hello":
                await self._refresh(source, [board], asked=True, everything=True)
                return
            result = await perform(source, board, command)
            if command.get("op") != "detail":
                await self._refresh(source, [board], asked=True)
        except asyncio.CancelledError:
            board.reply(command, error="the app was closed before its store had answered")
            raise
        except OmniQError as error:
            board.reply(command, error=str(error))
        except Exception as error:
            logger.exception("the command %r of a view failed", command.get("op"))
            board.reply(command, error=f"{type(error).__name__}: {error}")
        else:
            board.reply(command, result)
        finally:
            _seen(command)


def _seen(command: Json) -> None:
    """Wake who waits in this process for a look at the store."""
    seen = command.get("seen")
    if isinstance(seen, threading.Event):
        seen.set()


async def _pause(until: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await until.wait()
    except TimeoutError:
        return
