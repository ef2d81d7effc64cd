# Generated from omniq/tasks.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.tasks` without ``await``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, Unpack

from ..config import Config
from ..options import Plan, TaskOptions
from ..tasks import TaskFunction
from .handles import SyncGroupHandle, SyncTaskHandle
from .twin import Twin

P = ParamSpec("P")
R = TypeVar("R")


class SyncTaskFunction(Twin[TaskFunction[P, R]], Generic[P, R]):
    """A function that can run in the background.

    Calling it runs it here and now, as ever; `enqueue` sends it to the workers.

    Args:
        func: The function.
        name: The name that tasks call it by.
        options: Its options.
        app: Gives the app whose queue it goes to.
    """

    @property
    def func(self) -> Callable[P, Any]:
        return self._async.func

    @property
    def name(self) -> str:
        return self._async.name

    @property
    def own_options(self) -> TaskOptions:
        return self._async.own_options

    def plan(self, config: Config) -> Plan:
        """The options with the configuration's defaults; worked out once."""
        return self._async.plan(config)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._own(self._async.__call__(*args, **kwargs))

    def options(self, **options: Unpack[TaskOptions]) -> SyncTaskFunction[P, R]:
        """The same function with other options.

        Example:
            >>> handle = fetch.options(priority=9, delay=60).enqueue("http://…")

        Raises:
            OptionError: One is unknown or has a value that it can't have.
        """
        return SyncTaskFunction(self._async.options(**options), self._home)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> SyncTaskHandle[R]:
        """Send one call to the workers; the arguments are the function's own."""
        return SyncTaskHandle(self._run(self._async.enqueue(*args, **kwargs)), self._home)

    def map(self, *iterables: Iterable[Any]) -> SyncGroupHandle[R]:
        """Send a call for each item, in batches; with several iterables, as `map` does, one from each.

        Raises:
            OptionError: The iterables are of different lengths.
        """
        return SyncGroupHandle(self._run(self._async.map(*iterables)), self._home)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self._own(self._async.__get__(instance, owner))
