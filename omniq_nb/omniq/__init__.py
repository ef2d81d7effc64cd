"""OmniQ: a durable task queue that lives in Jupyter.

What is listed in ``__all__`` is public. Backends, frames and widgets load when they are first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from ._version import __version__
from .app import AsyncOmniQ, Stats
from .config import Config
from .current import current, set_current
from .errors import (
    ConfigError,
    DeadlockError,
    LeaseLost,
    OmniQError,
    OptionError,
    ResultTimeoutError,
    Retry,
    SerializationError,
    SignatureError,
    StoreError,
    TaskCancelled,
    TaskError,
    TaskExpired,
    TaskFailed,
    TaskNotFoundError,
    TaskSkipped,
    TaskStateError,
    UnknownFunctionError,
)
from .handles import GroupHandle, GroupProgress, TaskHandle
from .models.event import TaskEvent
from .models.result import TaskResult
from .models.schedule import Schedule, ScheduleStatus, ScheduleType
from .models.task import RetryPolicy, Task, TaskStatus
from .models.worker import WorkerType
from .options import TaskOptions
from .registry import DEFAULT
from .tasks import TaskFunction, register

if TYPE_CHECKING:
    import polars as pl
    from IPython.core.interactiveshell import InteractiveShell

    from .backends.memory import (
        AsyncMemoryEventStorage,
        AsyncMemoryQueue,
        AsyncMemoryResultStorage,
        AsyncMemoryScheduleStorage,
    )
    from .backends.postgres import (
        AsyncPostgresEventStorage,
        AsyncPostgresQueue,
        AsyncPostgresResultStorage,
        AsyncPostgresScheduleStorage,
    )
    from .backends.sqlite import (
        AsyncSQLiteEventStorage,
        AsyncSQLiteQueue,
        AsyncSQLiteResultStorage,
        AsyncSQLiteScheduleStorage,
    )
    from .notebook import dashboard, event_timeline, queue_board, schedule_board
    from .storage.events import BaseEventStorage
    from .storage.queue import BaseTaskQueue
    from .storage.results import BaseResultStorage
    from .storage.schedules import BaseScheduleStorage
    from .sync.app import OmniQ
    from .sync.handles import SyncGroupHandle, SyncTaskHandle
    from .sync.memory import MemoryEventStorage, MemoryQueue, MemoryResultStorage, MemoryScheduleStorage
    from .sync.postgres import PostgresEventStorage, PostgresQueue, PostgresResultStorage, PostgresScheduleStorage
    from .sync.sqlite import SQLiteEventStorage, SQLiteQueue, SQLiteResultStorage, SQLiteScheduleStorage
    from .sync.tasks import SyncTaskFunction
    from .sync.worker_pool import SyncWorkerPool
    from .workers.pool import WorkerPool

__all__ = [
    "AsyncMemoryEventStorage",
    "AsyncMemoryQueue",
    "AsyncMemoryResultStorage",
    "AsyncMemoryScheduleStorage",
    "AsyncOmniQ",
    "AsyncPostgresEventStorage",
    "AsyncPostgresQueue",
    "AsyncPostgresResultStorage",
    "AsyncPostgresScheduleStorage",
    "AsyncSQLiteEventStorage",
    "AsyncSQLiteQueue",
    "AsyncSQLiteResultStorage",
    "AsyncSQLiteScheduleStorage",
    "BaseEventStorage",
    "BaseResultStorage",
    "BaseScheduleStorage",
    "BaseTaskQueue",
    "Config",
    "ConfigError",
    "DeadlockError",
    "GroupHandle",
    "GroupProgress",
    "LeaseLost",
    "MemoryEventStorage",
    "MemoryQueue",
    "MemoryResultStorage",
    "MemoryScheduleStorage",
    "OmniQ",
    "OmniQError",
    "OptionError",
    "PostgresEventStorage",
    "PostgresQueue",
    "PostgresResultStorage",
    "PostgresScheduleStorage",
    "ResultTimeoutError",
    "Retry",
    "RetryPolicy",
    "SQLiteEventStorage",
    "SQLiteQueue",
    "SQLiteResultStorage",
    "SQLiteScheduleStorage",
    "Schedule",
    "ScheduleStatus",
    "ScheduleType",
    "SerializationError",
    "SignatureError",
    "Stats",
    "StoreError",
    "SyncGroupHandle",
    "SyncTaskFunction",
    "SyncTaskHandle",
    "SyncWorkerPool",
    "Task",
    "TaskCancelled",
    "TaskError",
    "TaskEvent",
    "TaskExpired",
    "TaskFailed",
    "TaskFunction",
    "TaskHandle",
    "TaskNotFoundError",
    "TaskOptions",
    "TaskResult",
    "TaskSkipped",
    "TaskStateError",
    "TaskStatus",
    "UnknownFunctionError",
    "WorkerPool",
    "WorkerType",
    "__version__",
    "current",
    "dashboard",
    "enqueue",
    "event_timeline",
    "events",
    "queue_board",
    "schedule_board",
    "set_current",
    "task",
]

_PARTS = ("Queue", "ResultStorage", "EventStorage", "ScheduleStorage")
_BACKENDS = ("SQLite", "Memory", "Postgres")
_LAZY = (
    {f"Async{name}{part}": f"omniq.backends.{name.lower()}" for name in _BACKENDS for part in _PARTS}
    | {f"{name}{part}": f"omniq.sync.{name.lower()}" for name in _BACKENDS for part in _PARTS}
    | {
        "BaseEventStorage": "omniq.storage.events",
        "BaseResultStorage": "omniq.storage.results",
        "BaseScheduleStorage": "omniq.storage.schedules",
        "BaseTaskQueue": "omniq.storage.queue",
        "OmniQ": "omniq.sync.app",
        "SyncGroupHandle": "omniq.sync.handles",
        "SyncTaskFunction": "omniq.sync.tasks",
        "SyncTaskHandle": "omniq.sync.handles",
        "SyncWorkerPool": "omniq.sync.worker_pool",
        "WorkerPool": "omniq.workers.pool",
    }
    | dict.fromkeys(("dashboard", "event_timeline", "queue_board", "schedule_board"), "omniq.notebook")
)

P = ParamSpec("P")
R = TypeVar("R")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext omniq``: the magics, and a current app."""
    importlib.import_module("omniq.notebook").load_ipython_extension(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext omniq`` undoes everything."""
    importlib.import_module("omniq.notebook").unload_ipython_extension(shell)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'omniq' has no attribute {name!r}")


@overload
def task(func: Callable[P, Coroutine[Any, Any, R]], /) -> TaskFunction[P, R]: ...
@overload
def task(func: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def task(
    func: None = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]
) -> Callable[[Callable[P, Any]], TaskFunction[P, Any]]: ...
def task(func: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]) -> Any:
    """Make a function a task of whatever app is current when it is enqueued: ``@omniq.task`` needs no app.

    Raises:
        OptionError: An option is unknown or has a value that it can't have.
        DuplicateFunctionError: Another function has the name.
    """
    if func is not None:
        return register(DEFAULT, func, name, options, current)
    return lambda func: register(DEFAULT, func, name, options, current)


async def enqueue(
    func: str | TaskFunction[..., Any],
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    **options: Unpack[TaskOptions],
) -> TaskHandle[Any]:
    """`AsyncOmniQ.enqueue` of the current app."""
    return await current().enqueue(func, args, kwargs, **options)


async def events(**conditions: Any) -> pl.DataFrame:
    """`AsyncOmniQ.events` of the current app."""
    return await current().events(**conditions)
