"""Which function a name means."""

import functools
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from omniq.errors import ConfigError, DuplicateFunctionError, OptionError, UnknownFunctionError
from omniq.registry import DEFAULT, Registry, default_name, import_modules, is_coroutine
from omniq.signing import Signer


def sync(x: int = 0) -> int:
    return x


def other() -> None:
    """Another function."""


async def coroutine() -> None:
    """A coroutine."""


class Callable:
    def __call__(self) -> None: ...

    def method(self) -> None: ...


class AsyncCallable:
    async def __call__(self) -> None: ...

    async def method(self) -> None: ...


def cell(source: str) -> Any:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(source, space)
    return space["f"]


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_what_was_added_is_found(registry: Registry) -> None:
    options = {"queue": "io"}
    entry = registry.add("b", sync, options=options)
    registry.add("a", coroutine)
    assert registry.get("b") is registry.find("b") is entry
    assert (entry.name, entry.func, entry.options, entry.is_coroutine) == ("b", sync, options, False)
    assert registry.names() == ["a", "b"]
    registry.remove("b")
    registry.remove("never there")
    assert registry.find("b") is None
    registry.clear()
    assert registry.names() == []


def test_an_unknown_name_is_refused_and_the_known_ones_named(registry: Registry) -> None:
    registry.add("fetch", sync)
    with pytest.raises(UnknownFunctionError, match=r"'fetsch'.*registered: fetch.*--import") as caught:
        registry.get("fetsch")
    assert caught.value.name == "fetsch"


def test_two_importable_functions_under_one_name_are_refused(registry: Registry) -> None:
    registry.add("f", sync)
    with pytest.raises(DuplicateFunctionError, match=__name__):
        registry.add("f", other)
    with pytest.raises(DuplicateFunctionError):
        registry.add("f", functools.partial(other))
    assert registry.get("f").func is sync


def test_a_cell_that_runs_again_replaces(registry: Registry) -> None:
    first, second = cell("def f(): return 1"), cell("def f(): return 2")
    registry.add("f", first)
    assert registry.add("f", second) is registry.get("f")
    assert registry.get("f").func is second


def test_a_move_between_cell_and_module_replaces(registry: Registry) -> None:
    registry.add("f", cell("def f(): return 1"))
    registry.add("f", sync)
    registry.add("f", cell("def f(): return 2"))
    assert registry.get("f").func() == 2


def test_a_function_made_by_a_function_replaces(registry: Registry) -> None:
    def make(n: int) -> Any:
        return lambda: n

    registry.add("f", make(1))
    registry.add("f", make(2))
    assert registry.get("f").func() == 2


def test_a_reloaded_module_replaces(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reloaded_tasks.py").write_text("def f(): pass")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_tasks")
    registry.add("f", module.f)
    old = module.f
    registry.add("f", importlib.reload(module).f)
    assert registry.get("f").func is not old


def test_the_same_function_may_be_added_twice(registry: Registry) -> None:
    registry.add("f", sync, options=1)
    registry.add("f", sync, options=2)
    assert registry.get("f").options == 2


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (sync, False),
        (coroutine, True),
        (functools.partial(sync), False),
        (functools.partial(functools.partial(coroutine)), True),
        (Callable(), False),
        (AsyncCallable(), True),
        (Callable().method, False),
        (AsyncCallable().method, True),
        (functools.partial(AsyncCallable().method), True),
        (functools.partial(AsyncCallable()), True),
        (lambda: None, False),
        (len, False),
    ],
)
def test_coroutines_are_recognised(func: Any, expected: bool) -> None:
    assert is_coroutine(func) is expected
    assert Registry().add("f", func).is_coroutine is expected


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


@pytest.mark.parametrize("func", [generator, async_generator, functools.partial(generator)])
def test_generators_are_refused(registry: Registry, func: Any) -> None:
    with pytest.raises(OptionError, match="return a list"):
        registry.add("f", func)


@pytest.mark.parametrize(("name", "func"), [("", sync), ("f", 3), ("f", None)])
def test_what_is_no_task_is_refused(registry: Registry, name: str, func: Any) -> None:
    with pytest.raises(OptionError):
        registry.add(name, func)


def test_names_by_default() -> None:
    assert default_name(sync) == "sync"
    assert default_name(coroutine) == "coroutine"
    assert default_name(Callable().method) == "method"
    for nameless in (lambda: None, functools.partial(sync), Callable()):
        with pytest.raises(OptionError, match=r"@task\(name=...\)"):
            default_name(nameless)


def test_whether_it_must_be_shipped_is_found_out_when_asked(registry: Registry) -> None:
    assert registry.add("a", sync).must_ship is False
    assert registry.add("b", cell("def f(): pass")).must_ship is True


def test_each_signer_has_its_shipper(registry: Registry) -> None:
    entry = registry.add("f", cell("def f(): pass"))
    one, two = Signer("a secret of enough bytes"), Signer("another secret of enough bytes")
    assert entry.shipper(one) is entry.shipper(one)
    assert entry.shipper(one).ship().digest != entry.shipper(two).ship().digest


def test_registries_are_apart(registry: Registry) -> None:
    registry.add("only here", sync)
    assert DEFAULT.find("only here") is None


# --- importing -------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    return tmp_path


def test_modules_are_imported(place: Path) -> None:
    (place / "tasks_one.py").write_text("ran = True")
    (place / "tasks_pack").mkdir()
    (place / "tasks_pack" / "two.py").write_text("ran = True")
    import_modules(["tasks_one", "tasks_pack.two"])
    for name in ("tasks_one", "tasks_pack.two"):
        module = importlib.import_module(name)
        assert isinstance(module, types.ModuleType)
        assert module.ran


@pytest.mark.parametrize(
    ("name", "hint"),
    [("not_there", "start the worker in the directory"), ("tasks.py", "write 'tasks'"), ("a/b.py", "write 'a.b'")],
)
def test_a_module_that_is_not_there(place: Path, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint) as caught:
        import_modules([name])
    assert isinstance(caught.value.__cause__, ImportError)
    assert repr(name) in str(caught.value)


def test_a_module_that_is_written_as_a_file(place: Path) -> None:
    (place / "tasks_file.py").touch()
    with pytest.raises(ConfigError, match="write 'tasks_file'"):
        import_modules(["tasks_file.py"])


@pytest.mark.parametrize("source", ["1 / 0", "import not_there_either", "def :", "raise SystemExit(3)"])
def test_a_module_that_fails(place: Path, source: str) -> None:
    (place / "failing_tasks.py").write_text(source)
    with pytest.raises(ConfigError, match=r"'failing_tasks' can't be imported, it raised") as caught:
        import_modules(["failing_tasks"])
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("name", ["", ".relative", "..", "a..b"])
def test_a_name_that_is_none(place: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        import_modules([name])
