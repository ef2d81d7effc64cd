"""Which function a task's name means in this process."""

from __future__ import annotations

import functools
import importlib
import inspect
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, DuplicateFunctionError, OptionError, UnknownFunctionError

if TYPE_CHECKING:
    from .shipping import FunctionShipper
    from .signing import Signer

AnyFunction = Callable[..., Any]


class Registered:
    """A function under its name.

    Attributes:
        name: The name that tasks call it by.
        func: The function itself.
        options: What the registering decorator keeps with it.
        is_coroutine: Calling it gives a coroutine.
    """

    __slots__ = ("_must_ship", "_shipper", "func", "is_coroutine", "name", "options")

    def __init__(self, name: str, func: AnyFunction, options: object = None) -> None:
        self.name, self.func, self.options = name, func, options
        self.is_coroutine = is_coroutine(func)
        self._must_ship: bool | None = None
        self._shipper: tuple[Signer, FunctionShipper] | None = None

    @property
    def must_ship(self) -> bool:
        """Whether it has to travel by value. Found out on first use: by then its module is complete."""
        if self._must_ship is None:
            from .shipping import must_ship  # only who enqueues needs it

            self._must_ship = must_ship(self.func)
        return self._must_ship

    def shipper(self, signer: Signer) -> FunctionShipper:
        """What ships it, signed by ``signer``."""
        kept = self._shipper
        if kept is None or kept[0] is not signer:
            from .shipping import FunctionShipper

            kept = self._shipper = (signer, FunctionShipper(self.func, self.name, signer))
        return kept[1]

    def __repr__(self) -> str:
        return f"Registered({self.name!r}, {self.func!r})"


class Registry:
    """Functions by name."""

    def __init__(self) -> None:
        self._functions: dict[str, Registered] = {}

    def add(self, name: str, func: AnyFunction, *, options: object = None) -> Registered:
        """Put ``func`` under ``name``.

        A cell that runs again, a reloaded module and a move between the two replace what was there.

        Raises:
            OptionError: ``func`` is no function that a worker could run, or the name is none.
            DuplicateFunctionError: Another importable function has the name.
        """
        _check(name, func)
        existing = self._functions.get(name)
        if existing is not None and _clash(existing.func, func):
            raise DuplicateFunctionError(name, str(_base(existing.func).__module__))
        entry = self._functions[name] = Registered(name, func, options)
        return entry

    def get(self, name: str) -> Registered:
        """What ``name`` means.

        Raises:
            UnknownFunctionError: Nothing has the name.
        """
        entry = self._functions.get(name)
        if entry is None:
            raise UnknownFunctionError(name, self._functions)
        return entry

    def find(self, name: str) -> Registered | None:
        """What ``name`` means, if anything."""
        return self._functions.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._functions)

    def remove(self, name: str) -> None:
        """Forget ``name``, if it is known."""
        self._functions.pop(name, None)

    def clear(self) -> None:
        """Forget everything."""
        self._functions.clear()


DEFAULT = Registry()
"""Where `@omniq.task` puts functions that belong to no app."""


def default_name(func: AnyFunction) -> str:
    """The name of a function that was given none.

    Raises:
        OptionError: It has no name of its own.
    """
    name = getattr(func, "__name__", "<lambda>")
    if not isinstance(name, str) or name == "<lambda>":
        raise OptionError(f"{func!r} has no name of its own: give it one, @task(name=...)")
    return name


def is_coroutine(func: AnyFunction) -> bool:
    """Whether calling ``func`` gives a coroutine; partials and callable objects are seen through."""
    base = _base(func)
    return inspect.iscoroutinefunction(base) or inspect.iscoroutinefunction(getattr(base, "__call__", None))  # noqa: B004


def import_modules(names: Sequence[str]) -> None:
    """Import the modules whose functions a worker may run.

    Raises:
        ConfigError: One can't be imported; its own error is chained.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            # A module's top level can raise anything, and one that was written as a script may exit.
            raise ConfigError(_import_failure(name, error)) from error


def _import_failure(name: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
        hint = "start the worker in the directory that holds it, or install it"
        if name.endswith(".py"):
            hint = f"write {name.removesuffix('.py').replace('/', '.')!r}"
        return f"there is no module {name!r} to import: {hint}"
    return f"the module {name!r} can't be imported, it raised {type(error).__name__}: {error}"


def _check(name: str, func: AnyFunction) -> None:
    if not name:
        raise OptionError("a task's name must not be empty")
    if not callable(func):
        raise OptionError(f"only a function can be a task, not {func!r}")
    base = _base(func)
    if inspect.isgeneratorfunction(base) or inspect.isasyncgenfunction(base):
        raise OptionError(f"{name!r} is a generator, whose values nobody would take: return a list of them instead")


def _base(func: Any) -> Any:
    """The function inside partials and bound methods."""
    while isinstance(func, functools.partial | types.MethodType):
        func = func.func if isinstance(func, functools.partial) else func.__func__
    return func


def _clash(old: AnyFunction, new: AnyFunction) -> bool:
    """Whether both are importable and not the same."""
    return old is not new and _place(old) != _place(new) and None not in (_place(old), _place(new))


def _place(func: AnyFunction) -> tuple[str, str] | None:
    """Module and qualified name of an importable function."""
    base = _base(func)
    module, name = getattr(base, "__module__", None), getattr(base, "__qualname__", "<")
    return None if module in (None, "__main__") or "<" in name else (module, name)
