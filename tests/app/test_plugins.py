"""Backends of other packages, found by their entry points; and what is said of those that are not there, or broken."""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest
from omniq import AsyncOmniQ
from omniq.backends import registry
from omniq.backends.memory import MemoryDriver
from omniq.errors import MissingExtraError, UnknownBackendError
from omniq.storage.driver import About

from ..conftest import PATIENCE, Children

PLUGIN = """
from omniq.backends.memory import MemoryDriver
from omniq.storage.driver import About

class ShelfDriver(MemoryDriver):
    scheme = "shelf"
    about = About(title="Shelf", url="shelf://x", start="-", choose="-")

class RudeDriver(ShelfDriver):
    scheme = "rude"

    async def open(self):
        raise RuntimeError("no\\nsuch shelf: " + self.url)

nothing = "a text"
"""
ENTRY_POINTS = """
[omniq.backends]
shelf = shelf_plugin:ShelfDriver
rude = shelf_plugin:RudeDriver
gone = module_that_is_gone:Driver
nameless = shelf_plugin:NoSuchDriver
text = shelf_plugin:nothing
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """A package as pip installs it, with backends that work and others that don't; gives the path to it."""
    (tmp_path / "shelf_plugin.py").write_text(PLUGIN)
    metadata = tmp_path / "shelf_plugin-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf-plugin\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    source = Path(registry.__file__).parents[2]
    return {"PYTHONPATH": f"{source}{os.pathsep}{tmp_path}"}


def test_an_installed_package_adds_a_backend(installed: dict[str, str], children: Children) -> None:
    doctor = children.python("-m", "omniq.cli", "doctor", "--url", "shelf://somewhere", **installed)
    assert "queue        Shelf, shelf://somewhere: answers in" in children.finish(doctor)


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        (
            "gone",
            "the entry point `gone = module_that_is_gone:Driver` of the package shelf-plugin 1.2, in the group omn",
        ),
        ("gone", "can't be loaded (ModuleNotFoundError: No module named 'module_that_is_gone')"),
        ("nameless", "can't be loaded (AttributeError: module 'shelf_plugin' has no attribute 'NoSuchDriver')"),
        ("text", "can't be loaded (that is no subclass of omniq.storage.driver.Driver)"),
        ("rude", "RuntimeError: no such shelf: rude://u:***@h"),
    ],
)
def test_a_backend_that_is_broken_is_one_clear_line(
    scheme: str, said: str, installed: dict[str, str], children: Children
) -> None:
    doctor = children.python("-m", "omniq.cli", "doctor", "--url", f"{scheme}://u:hunter2@h", **installed)
    assert doctor.wait(PATIENCE) == 1
    output = children.output_of(doctor)
    assert said in output
    assert "Traceback" not in output
    assert "hunter2" not in output


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
