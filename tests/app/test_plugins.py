"""Backends of other packages, found by their entry points; and what is said of backends that are not there."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest
from omniq import AsyncOmniQ
from omniq.backends import registry
from omniq.backends.memory import MemoryDriver
from omniq.errors import MissingExtraError, UnknownBackendError
from omniq.storage.driver import About


class ShelfDriver(MemoryDriver):
    scheme: ClassVar[str] = "shelf"
    about: ClassVar[About] = About(title="Shelf", url="shelf://x", start="-", choose="-")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("shelf_of_a_plugin")
    module.ShelfDriver = ShelfDriver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shelf_of_a_plugin", module)
    point = EntryPoint("shelf", "shelf_of_a_plugin:ShelfDriver", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])


async def test_a_plugin_is_found_by_its_scheme(plugin: None) -> None:
    async with AsyncOmniQ("shelf://somewhere") as app:
        await app.enqueue("f")
        assert (await app.health()).components[0].backend == "Shelf"


async def test_an_unknown_scheme_names_the_known_ones_and_no_password(plugin: None) -> None:
    with pytest.raises(UnknownBackendError, match=r"no backend for 'odd://u:\*\*\*@h'.* shelf://, sqlite://"):
        await AsyncOmniQ("odd://u:hunter2@h").open()


async def test_a_missing_client_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    backend: Any = registry.BACKENDS["redis"]._replace(module="no_such_client_library")
    monkeypatch.setitem(registry.BACKENDS, "redis", backend)
    with pytest.raises(
        MissingExtraError, match=r"redis:// needs a package that is missing: pip install 'omniq-nb\[redis\]'"
    ):
        await AsyncOmniQ("redis://h", secret="a secret of enough bytes").open()
