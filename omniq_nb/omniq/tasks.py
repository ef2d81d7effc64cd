"""The decorated function: still callable, and able to enqueue itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, cast

from .config import Config
from .current import current
from .errors import OptionError
from .options import Plan, TaskOptions, make_plan, merge
from .registry import Registered, Registry, default_name

if TYPE_CHECKING:
    from .app import AsyncOmniQ
    from .handles import GroupHandle, TaskHandle

P = ParamSpec("P")
R = TypeVar("R")


class TaskFunction(Generic[P, R]):
    """A function that can run in the background.

    Calling it runs it here and now, as ever; `enqueue` sends it to the workers.

    Args:
        func: The function.
        name: The name that tasks call it by.
        options: Its options.
        app: Gives the app whose queue it goes to.
    """

    _omniq_parts = ("func", "name", "own_options")
    """What travels, and is watched for changes when another function refers to it (see `__reduce__`)."""

    def __init__(self, func: Callable[P, Any], name: str, options: TaskOptions, app: Callable[[], AsyncOmniQ]) -> None:
        functools.update_wrapper(self, func)
        self.func = func
        self.name = name
        self.own_options = options
        self._app = app
        self._plan: tuple[Config, Plan] | None = None

    def plan(self, config: Config) -> Plan:
        """The options with the configuration's defaults; worked out once."""
        if self._plan is None or self._plan[0] is not config:
            self._plan = (config, make_plan(self.own_options, config, self.name))
        return self._plan[1]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self.func(*args, **kwargs)

    def options(self, **options: Unpack[TaskOptions]) -> TaskFunction[P, R]:
        """The same function with other options.

        Example:
            >>> handle = await fetch.options(priority=9, delay=60).enqueue("http://…")

        Raises:
            OptionError: One is unknown or has a value that it can't have.
        """
        merged = merge(self.own_options, options)
        make_plan(merged, Config())
        return TaskFunction(self.func, self.name, cast("TaskOptions", merged), self._app)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Send one call to the workers; the arguments are the function's own."""
        return await self._app().enqueue_call(self, args, kwargs)

    async def map(self, *iterables: Iterable[Any]) -> GroupHandle[R]:
        """Send a call for each item, in batches; with several iterables, as `map` does, one from each.

        Raises:
            OptionError: The iterables are of different lengths.
        """
        try:
            calls = list(zip(*iterables, strict=True))
        except ValueError as error:
            raise OptionError(f"the iterables given to {self.name}.map are of different lengths") from error
        return await self._app().enqueue_calls(self, calls)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        raise OptionError(f"{self.name!r} is a method: only functions can be tasks, pass the object as an argument")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A task that refers to another one, or to itself, travels with the function but without the app: in the worker
        # it enqueues at the app whose task runs there.
        return _arrived, (self.func, self.name, self.own_options)

    def __repr__(self) -> str:
        return f"<task {self.name}>"


def _arrived(func: Callable[..., Any], name: str, options: TaskOptions) -> TaskFunction[..., Any]:
    """A task function that another one brought along to its worker."""
    return TaskFunction(func, name, options, current)


def register(
    registry: Registry, func: Callable[P, Any], name: str | None, options: TaskOptions, app: Callable[[], AsyncOmniQ]
) -> TaskFunction[P, Any]:
    """Make a function a task.

    Raises:
        OptionError: An option is unknown or has a value that it can't have; the function has no name.
        DuplicateFunctionError: Another function has the name.
    """
    make_plan(options, Config())
    entry: Registered = registry.add(name or default_name(func), func, options=options)
    return TaskFunction(func, entry.name, options, app)
