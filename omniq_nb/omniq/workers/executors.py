"""Where a task's code runs. One strategy, one class; all of them take `def` and `async def` functions."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from ..models.worker import WorkerType
from .functions import Callee


class Executor(Protocol):
    """Runs one call at a time for each of a pool's places."""

    @property
    def abandoned(self) -> int:
        """Threads that still run what was cancelled: each of them still takes a place."""

    def run(self, function: Callee, args: list[Any], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Call the function; awaiting this gives what it returns, or raises it.

        Cancelling that cancels a coroutine function. A plain function in a thread can't be stopped: its thread is
        abandoned, and counted until it ends.
        """

    def close(self) -> None:
        """Let go of the threads; those that still run are left to end."""


class _Threads:
    """Threads for plain functions.

    Args:
        concurrency: How many at most.
        on_free: Called on the loop when an abandoned thread has ended.
    """

    def __init__(self, concurrency: int, on_free: Callable[[], None]) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="omniq-task")
        self._on_free = on_free
        self.abandoned: set[asyncio.Future[Any]] = set()

    async def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        context = contextvars.copy_context()

        def call_in_context() -> tuple[Any, BaseException | None]:
            # An exception comes back as a value: a future that carries StopIteration or GeneratorExit never wakes its
            # waiter.
            try:
                return context.run(func, *args, **kwargs), None
            except BaseException as error:  # noqa: BLE001 -- raised again on the loop
                return None, error

        running = asyncio.get_running_loop().run_in_executor(self._pool, call_in_context)
        try:
            value, error = await asyncio.shield(running)
        except asyncio.CancelledError:
            if not running.done():
                self.abandoned.add(running)
                running.add_done_callback(self._ended)
            raise
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # else the exception would hold this frame, and the frame the exception

    def _ended(self, running: asyncio.Future[Any]) -> None:
        self.abandoned.discard(running)
        if not running.cancelled():
            running.exception()  # what it came to is nobody's concern any more
        self._on_free()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class AsyncExecutor:
    """Coroutine functions on the loop itself; plain functions in threads, so that they never block it."""

    def __init__(self, concurrency: int, on_free: Callable[[], None]) -> None:
        self._threads = _Threads(concurrency, on_free)

    @property
    def abandoned(self) -> int:
        return len(self._threads.abandoned)

    def run(self, function: Callee, args: list[Any], kwargs: dict[str, Any]) -> Awaitable[Any]:
        if function.is_coroutine:
            awaitable: Awaitable[Any] = function.func(*args, **kwargs)
            return awaitable
        return self._threads.call(function.func, *args, **kwargs)

    def close(self) -> None:
        self._threads.close()


class ThreadExecutor:
    """Every task in a thread; a coroutine function on an event loop that its thread keeps."""

    def __init__(self, concurrency: int, on_free: Callable[[], None]) -> None:
        self._threads = _Threads(concurrency, on_free)
        self._local = threading.local()
        self._runners: list[asyncio.Runner] = []
        self._is_closed = False
        self._closing = threading.Lock()

    @property
    def abandoned(self) -> int:
        return len(self._threads.abandoned)

    async def run(self, function: Callee, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if not function.is_coroutine:
            return await self._threads.call(function.func, *args, **kwargs)
        call = _CoroutineInThread(function.func, args, kwargs)
        try:
            return await self._threads.call(self._run, call)
        except asyncio.CancelledError:
            call.cancel()
            raise

    def _run(self, call: _CoroutineInThread) -> Any:
        runner = self._runner()
        try:
            return call.run(runner)
        finally:
            if self._is_closed:  # this thread was abandoned, and left its loop to itself
                self._close_loop(runner)

    def _runner(self) -> asyncio.Runner:
        if not hasattr(self._local, "runner"):
            self._local.runner = asyncio.Runner()
            self._runners.append(self._local.runner)
        runner: asyncio.Runner = self._local.runner
        return runner

    def close(self) -> None:
        self._is_closed = True
        self._threads.close()
        for runner in self._runners:
            self._close_loop(runner)

    def _close_loop(self, runner: asyncio.Runner) -> None:
        with self._closing:
            loop = runner.get_loop()
            if not loop.is_running() and not loop.is_closed():  # else its thread was abandoned, and closes it later
                loop.close()


class _CoroutineInThread:
    """One coroutine on a thread's own loop, cancellable from outside."""

    def __init__(self, func: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
        self._func, self._args, self._kwargs = func, args, kwargs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    def run(self, runner: asyncio.Runner) -> Any:
        # Else the runner's own context would carry one task's context variables to the next.
        return runner.run(self._call(), context=contextvars.copy_context())

    async def _call(self) -> Any:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._cancelled:
            raise asyncio.CancelledError
        return await self._func(*self._args, **self._kwargs)

    def cancel(self) -> None:
        self._cancelled = True  # noticed at its start, if it has not started
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)


def executor_for(kind: WorkerType, concurrency: int, on_free: Callable[[], None]) -> Executor:
    """The strategy of a worker type; ``on_free`` is called when an abandoned thread has ended."""
    return (AsyncExecutor if kind is WorkerType.ASYNC else ThreadExecutor)(concurrency, on_free)
