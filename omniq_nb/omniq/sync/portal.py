"""The event loop in the background on which blocking calls are answered: one thread for the process."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from ..errors import DeadlockError, OmniQError

T = TypeVar("T")

logger = logging.getLogger("omniq")

_CLOSE_SECONDS = 30.0
_JOIN_SECONDS = 5.0
_CANCEL_SECONDS = 1.0
_TICK_SECONDS = None if os.name == "posix" else 0.1
"""Where a lock can't be interrupted, the wait looks up so often, so that Ctrl-C is noticed."""

_ON_PORTAL = (
    "code on OmniQ's own loop (an `async def` task, a callback) must not block: make the task a plain `def`, or make "
    "the call in a thread, `await asyncio.to_thread(...)`"
)
_ON_OWN_LOOP = (
    "the app lives on the loop that runs this code: `await` the call of the AsyncOmniQ, use an OmniQ() of its own, or "
    "make the call in a thread, `await asyncio.to_thread(...)`"
)


class Closeable(Protocol):
    """What is closed when the interpreter ends."""

    async def close(self) -> None:
        """Let go of everything."""


class Portal:
    """A daemon thread with an event loop that runs for ever."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="omniq-portal", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._stopping:
            try:
                self.loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                # One coroutine raised it, and whoever waits for that one gets it; the others go on.
                logger.debug("a coroutine on OmniQ's loop asked the process to exit")

    @property
    def is_running(self) -> bool:
        """Whether calls are still answered."""
        return not self._stopping

    def stop(self) -> None:
        """End the thread; what still waits on its loop is cancelled."""
        self._stopping = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_JOIN_SECONDS)
        if self._thread.is_alive():
            return  # a coroutine blocks it; the thread is a daemon and keeps nothing alive
        self.loop.run_until_complete(_cancel_all())
        self.loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
    await asyncio.get_running_loop().shutdown_asyncgens()


_lock = threading.Lock()
_portal: Portal | None = None
_closeables: weakref.WeakSet[Closeable] = weakref.WeakSet()
_hooked = False


def portal() -> Portal:
    """The process's portal; its thread is started when it is first asked for."""
    global _portal  # noqa: PLW0603 -- one loop in the background for the process is the point
    with _lock:
        if _portal is None:
            _hook()
            _portal = Portal()
        return _portal


def close_at_exit(thing: Closeable) -> None:
    """Have this closed on the portal's loop when the interpreter ends, unless it is gone by then."""
    _closeables.add(thing)


def run(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, call: str) -> T:
    """Run a coroutine on another thread's loop and wait for what it gives or raises.

    An interrupt cancels the coroutine and goes on to the caller at once.

    Args:
        coroutine: Closed if it can't be run.
        loop: Where it runs.
        call: What the caller wrote, for messages.

    Raises:
        DeadlockError: The calling code runs on that loop itself.
        OmniQError: The loop has ended, or did so while the coroutine ran.
    """
    try:
        _check(loop, call)
    except OmniQError:
        coroutine.close()
        raise
    job = _Job(coroutine, loop)
    try:
        loop.call_soon_threadsafe(job.start)
        return job.wait()
    except concurrent.futures.CancelledError as error:
        raise OmniQError(f"{call} was given up: what it waited for was closed") from error
    except BaseException:
        job.give_up()  # without effect on one that is done: then the exception is its own
        raise


class _Job(Generic[T]):
    """A coroutine on another thread's loop.

    `asyncio.run_coroutine_threadsafe` can't be told to give up before it has returned, and an interrupt may come just
    then.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine, self._loop = coroutine, loop
        self._task: asyncio.Task[T] | None = None
        self._outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def start(self) -> None:
        """Begin; called on the loop."""
        if self._outcome.cancelled():
            self._coroutine.close()
        else:
            self._task = self._loop.create_task(self._coroutine)
            self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[T]) -> None:
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            self._outcome.cancel()
        elif not self._outcome.set_running_or_notify_cancel():
            return  # nobody waits any more
        elif error is not None:
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(task.result())

    def wait(self) -> T:
        """What the coroutine gives; called by the thread that blocks."""
        while True:
            try:
                return self._outcome.result(_TICK_SECONDS)
            except TimeoutError:
                if self._outcome.done():
                    raise  # the coroutine's own

    def give_up(self) -> None:
        """Cancel the coroutine, if it is not done, without waiting for it."""
        if self._outcome.cancel():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is None:
            self._coroutine.close()
        else:
            self._task.cancel()


def finish(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    """Run a coroutine that cleans up. Waits for it where that is possible; never fails for want of a loop.

    The garbage collector may call for it anywhere: on that very loop, or when the interpreter is about to end.
    """
    if not _answers(loop):
        coroutine.close()
        return
    job = _Job(coroutine, loop)
    loop.call_soon_threadsafe(job.start)
    if _running_loop() is not loop:
        job.wait()


def _check(loop: asyncio.AbstractEventLoop, call: str) -> None:
    if _running_loop() is loop:
        raise DeadlockError(call, _ON_PORTAL if _is_portals(loop) else _ON_OWN_LOOP)
    if not _answers(loop):
        raise OmniQError(f"{call} has nobody to answer it: the event loop that the app was opened on has ended")


def _answers(loop: asyncio.AbstractEventLoop) -> bool:
    if _is_portals(loop):
        return _portal is not None and _portal.is_running
    return loop.is_running()


def _is_portals(loop: asyncio.AbstractEventLoop) -> bool:
    return _portal is not None and _portal.loop is loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# --- the end of the process, and its forks ---


def _hook() -> None:
    global _hooked  # noqa: PLW0603 -- once for the process
    if not _hooked:
        _hooked = True
        # Plain atexit callbacks come too late to stop workers in order: by then concurrent.futures takes no more calls,
        # and tasks in threads would fail for that reason.
        register: Callable[..., Any] = getattr(threading, "_register_atexit", atexit.register)
        register(_close_all)
        # The loop itself ends as late as possible, so that the user's own atexit callbacks may still close their apps.
        atexit.register(_stop)


def _close_all() -> None:
    if _portal is None or not _portal.is_running:
        return
    future = asyncio.run_coroutine_threadsafe(_close_each(list(_closeables)), _portal.loop)
    try:
        future.result(_CLOSE_SECONDS)
    except TimeoutError:
        logger.warning(
            "OmniQ did not come to an orderly end in %g s; nothing that was accepted is lost", _CLOSE_SECONDS
        )


async def _close_each(things: list[Closeable]) -> None:
    outcomes = await asyncio.gather(*(each.close() for each in things), return_exceptions=True)
    for thing, outcome in zip(things, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            logger.warning("%r could not be closed in order: %s", thing, outcome)


def _stop() -> None:
    if _portal is not None and _portal.is_running:
        _portal.stop()


def _reset_after_fork() -> None:
    """The child has none of the parent's threads; it starts its own when it needs one, and closes nothing of his."""
    global _portal, _lock, _closeables
    _portal, _lock, _closeables = None, threading.Lock(), weakref.WeakSet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
