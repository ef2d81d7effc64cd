"""How an app's stores are: asked of each of them, and never an error."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

from .backends.registry import make_driver
from .config import COMPONENTS, Config
from .display import Displayed
from .errors import OmniQError
from .masking import mask_text, mask_url
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
    """

    component: str
    store: str
    backend: str = ""
    latency: float | None = None
    error: str | None = None


class Health(Displayed, msgspec.Struct, frozen=True):
    """All of an app's stores."""

    components: list[ComponentHealth]

    @property
    def ok(self) -> bool:
        """Whether every store answers."""
        return all(each.error is None for each in self.components)


async def check(config: Config, parts: Parts | None, timeout: float) -> Health:
    """Ask every store, those of an app that is not open by drivers of their own.

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
    return Health(answers)


async def _ask(config: Config, component: str, parts: Parts | None, timeout: float) -> ComponentHealth:
    url = config.store_url(component)
    store, backend = mask_url(url), ""
    try:
        driver = make_driver(url, durability=config.durability, options=config.store_options(component))
        backend = driver.about.title
        opened = parts.driver_of(component) if parts is not None else None
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


async def _open_and_read(driver: Driver) -> float:
    async with driver:
        return await _read(driver)


async def _read(driver: Driver) -> float:
    began = time.perf_counter()
    await driver.get([("health", "health")])
    return time.perf_counter() - began
