"""What queue, results, events and schedules have in common: each stands on a driver, its own or a shared one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from ..errors import ConfigError
from ..masking import mask_url
from .driver import Driver


class Component:
    """A part of the queue over one driver.

    Args:
        store: A driver, opened and closed by whoever made it; or a URL or path, opened and closed by the component.
        **options: Passed on to the driver that is made from a URL.
    """

    driver_class: ClassVar[type[Driver] | None] = None

    def __init__(self, store: Driver | str | Path, **options: Any) -> None:
        self._owns_driver = not isinstance(store, Driver)
        self.driver = store if isinstance(store, Driver) else self._make_driver(str(store), options)

    def _make_driver(self, store: str, options: dict[str, Any]) -> Driver:
        if self.driver_class is None:
            raise ConfigError(
                f"{type(self).__name__} needs a driver, not {mask_url(store)!r}: use a backend's class, or AsyncOmniQ"
            )
        url = store if "://" in store else f"{self.driver_class.scheme}:///{store}"
        return self.driver_class(url, **options)

    async def open(self) -> None:
        """Open the driver, if it is the component's own."""
        if self._owns_driver:
            await self.driver.open()

    async def close(self) -> None:
        """Close the driver, if it is the component's own."""
        if self._owns_driver:
            await self.driver.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
