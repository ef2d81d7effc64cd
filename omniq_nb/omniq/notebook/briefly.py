"""From synchronous code on a running loop to the store and back: on a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ..app import AsyncOmniQ
from ..parts import Parts
from .publisher import App

T = TypeVar("T")


def with_twin(app: App, work: Callable[[AsyncOmniQ], Coroutine[Any, Any, T]]) -> T:
    """Do something with an app of the same store and functions, and wait for it; an interrupt ends the wait."""

    async def run() -> T:
        twin = AsyncOmniQ()
        twin.config, twin.registry = app.config, app.registry
        async with twin:
            return await work(twin)

    return _on_thread(run)


def with_parts(app: App, work: Callable[[Parts], Coroutine[Any, Any, T]]) -> T:
    """Look at an app's store, and wait for what is found."""

    async def run() -> T:
        parts = Parts(app.config, app.registry)
        await parts.open()
        try:
            return await work(parts)
        finally:
            await parts.close()

    return _on_thread(run)


def _on_thread(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    future: Future[T] = Future()

    def main() -> None:
        try:
            future.set_result(asyncio.run(run()))
        except BaseException as error:  # noqa: BLE001 -- it is raised where the result is waited for
            future.set_exception(error)

    threading.Thread(target=main, name="omniq-briefly", daemon=True).start()
    return future.result()
