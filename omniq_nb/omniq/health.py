"""How an app's stores are: asked of each of them, and never an error."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import msgspec

from .backends.registry import make_driver
from .config import COMPONENTS, Config
from .display import Displayed
from .errors import ConfigError, OmniQError
from .masking import mask_text, mask_url
from .parts import check_secret
from .storage.driver import Driver

if TYPE_CHECKING:
    from .parts import Parts


class ComponentHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One component's store.

    Attributes:
        component: ``queue``, ``results``, ``events``, ``schedules`` or ``large_values``.
        store: Its URL, passwords masked.
        backend: The backend's name; empty where the URL has none.
        latency: Seconds that a read took; ``None``: it did not answer.
        error: What is wrong, in one line; ``None``: nothing.
        absent: It is a file or directory that is not there; it is made when it is first used.
    """

    component: str
    store: str
    backend: str = ""
    latency: float | None = None
    error: str | None = None
    absent: bool = False


class Health(Displayed, msgspec.Struct, frozen=True):
    """All of an app's stores.

    Attributes:
        components: One after the other.
        problems: What is wrong besides, a line each.
    """

    components: list[ComponentHealth]
    problems: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: every store answers, or can be made."""
        return not self.problems and all(each.error is None for each in self.components)


async def check(config: Config, parts: Parts | None, timeout: float) -> Health:
    """Ask every store, those of an app that is not open by drivers of their own. No file or directory is made for it.

    Args:
        config: Names the stores.
        parts: Of the app, if it is open.
        timeout: Seconds after which a store counts as not answering.
    """
    components = [*COMPONENTS, *(["large_values"] if config.large_values else [])]
    stores: dict[str, asyncio.Task[ComponentHealth]] = {}
    answers: list[ComponentHealth] = []
    for component in components:
        name = f"{config.store_url(component)} {config.store_options(component)!r}"
        if name not in stores:
            stores[name] = asyncio.create_task(_ask(config, component, parts, timeout))
    await asyncio.wait(stores.values())
    for component in components:
        name = f"{config.store_url(component)} {config.store_options(component)!r}"
        answers.append(msgspec.structs.replace(stores[name].result(), component=component))
    return Health(answers, [] if parts is not None else _problems(config))


def _problems(config: Config) -> list[str]:
    try:
        tasks = make_driver(config.store_url("queue"), options=config.store_options("queue"))
    except Exception:  # noqa: BLE001 -- the store's own, which is told beside it
        return []
    try:
        check_secret(config, tasks)
    except ConfigError as problem:
        return [str(problem)]
    return []


async def _ask(config: Config, component: str, parts: Parts | None, timeout: float) -> ComponentHealth:
    url = config.store_url(component)
    store, backend = mask_url(url), ""
    try:
        driver = make_driver(url, durability=config.durability, options=config.store_options(component))
        backend = driver.about.title
        opened = parts.driver_of(component) if parts is not None else None
        if opened is None and _can_be_made(driver):
            return ComponentHealth(component=component, store=store, backend=backend, absent=True)
        async with asyncio.timeout(timeout):
            latency = await (_read(opened) if opened is not None else _open_and_read(driver))
    except TimeoutError:
        error = f"the store {store} has not answered in {timeout:g} s"
    except OmniQError as problem:
        error = str(problem)
    except Exception as problem:  # noqa: BLE001 -- of a client library; who asks for a store's health wants to read it
        error = mask_text(" ".join(f"{type(problem).__name__}: {problem}".split()), url)
    else:
        return ComponentHealth(component=component, store=store, backend=backend, latency=latency)
    return ComponentHealth(component=component, store=store, backend=backend, error=error)


def _can_be_made(driver: Driver) -> bool:
    """Whether the store is not there, and nothing is in its way; if something is, opening it says what."""
    place = driver.place()
    if place is None or place.exists():
        return False
    above = next(directory for directory in place.parents if directory.exists())
    return above.is_dir() and os.access(above, os.W_OK)


async def _open_and_read(driver: Driver) -> float:
    async with driver:
        return await _read(driver)


async def _read(driver: Driver) -> float:
    began = time.perf_counter()
    await driver.get([("health", "health")])
    return time.perf_counter() - began
