# Generated from omniq/storage/component.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.storage.component` without ``await``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from ..storage.component import Component
from ..storage.driver import Driver
from .twin import Made


class SyncComponent(Made[Component]):
    """A part of the queue over one driver.

    Args:
        store: A driver, opened and closed by whoever made it; or a URL or path, opened and closed by the component.
        **options: Passed on to the driver that is made from a URL.
    """

    _async: Component
    _async_class: ClassVar[type[Component]] = Component

    def __init__(self, store: Driver | str | Path, **options: Any) -> None:
        self._adopt(self._async_class(store, **options))

    @property
    def driver(self) -> Driver:
        return self._async.driver

    def open(self) -> None:
        """Open the driver, if it is the component's own."""
        self._run(self._async.open())

    def close(self) -> None:
        """Close the driver, if it is the component's own."""
        self._run(self._async.close())

    def __enter__(self) -> Self:
        self._run(self._async.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._async.__aexit__(*_))
