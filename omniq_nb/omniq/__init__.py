"""OmniQ: a durable task queue that lives in Jupyter.

What is listed in ``__all__`` is public, and loads when it is first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from ._version import __version__
from .current import current, set_current
from .errors import (
    ConfigError,
    DeadlockError,
    DuplicateFunctionError,
    DuplicateTaskError,
    LeaseLost,
    NotOpenError,
    OmniQError,
    OptionError,
    ResultTimeoutError,
    Retry,
    SerializationError,
    SignatureError,
    StoreError,
    StoreUnavailableError,
    TaskCancelled,
    TaskError,
    TaskExpired,
    TaskFailed,
    TaskNotFoundError,
    TaskSkipped,
    TaskStateError,
    TaskTimeoutError,
    UnknownFunctionError,
)

if TYPE_CHECKING:
    import polars as pl
    from IPython.core.interactiveshell import InteractiveShell

    from .app import AsyncOmniQ
    from .backends.azure import (
        AsyncAzureEventStorage,
        AsyncAzureQueue,
        AsyncAzureResultStorage,
        AsyncAzureScheduleStorage,
    )
    from .backends.files import (
        AsyncFileEventStorage,
        AsyncFileQueue,
        AsyncFileResultStorage,
        AsyncFileScheduleStorage,
    )
    from .backends.gcs import AsyncGCSEventStorage, AsyncGCSQueue, AsyncGCSResultStorage, AsyncGCSScheduleStorage
    from .backends.memory import (
        AsyncMemoryEventStorage,
        AsyncMemoryQueue,
        AsyncMemoryResultStorage,
        AsyncMemoryScheduleStorage,
    )
    from .backends.nats import (
        AsyncNATSEventStorage,
        AsyncNATSQueue,
        AsyncNATSResultStorage,
        AsyncNATSScheduleStorage,
    )
    from .backends.postgres import (
        AsyncPostgresEventStorage,
        AsyncPostgresQueue,
        AsyncPostgresResultStorage,
        AsyncPostgresScheduleStorage,
    )
    from .backends.redis import (
        AsyncRedisEventStorage,
        AsyncRedisQueue,
        AsyncRedisResultStorage,
        AsyncRedisScheduleStorage,
    )
    from .backends.s3 import AsyncS3EventStorage, AsyncS3Queue, AsyncS3ResultStorage, AsyncS3ScheduleStorage
    from .backends.sqlite import (
        AsyncSQLiteEventStorage,
        AsyncSQLiteQueue,
        AsyncSQLiteResultStorage,
        AsyncSQLiteScheduleStorage,
    )
    from .config import Config
    from .handles import GroupHandle, GroupProgress, TaskHandle
    from .health import ComponentHealth, Health
    from .models.event import TaskEvent
    from .models.result import TaskResult
    from .models.schedule import Schedule, ScheduleStatus, ScheduleType
    from .models.task import RetryPolicy, Task, TaskStatus
    from .models.worker import WorkerType
    from .notebook import dashboard, event_timeline, queue_board, schedule_board
    from .options import TaskOptions
    from .queue_manager import QueueManager, QueueStats, Stats
    from .storage.events import BaseEventStorage
    from .storage.queue import BaseTaskQueue, TaskPage
    from .storage.results import BaseResultStorage
    from .storage.schedules import BaseScheduleStorage
    from .storage.workers import WorkerInfo
    from .sync.app import OmniQ
    from .sync.azure import AzureEventStorage, AzureQueue, AzureResultStorage, AzureScheduleStorage
    from .sync.files import FileEventStorage, FileQueue, FileResultStorage, FileScheduleStorage
    from .sync.gcs import GCSEventStorage, GCSQueue, GCSResultStorage, GCSScheduleStorage
    from .sync.handles import SyncGroupHandle, SyncTaskHandle
    from .sync.memory import MemoryEventStorage, MemoryQueue, MemoryResultStorage, MemoryScheduleStorage
    from .sync.nats import NATSEventStorage, NATSQueue, NATSResultStorage, NATSScheduleStorage
    from .sync.postgres import PostgresEventStorage, PostgresQueue, PostgresResultStorage, PostgresScheduleStorage
    from .sync.queue_manager import SyncQueueManager
    from .sync.redis import RedisEventStorage, RedisQueue, RedisResultStorage, RedisScheduleStorage
    from .sync.s3 import S3EventStorage, S3Queue, S3ResultStorage, S3ScheduleStorage
    from .sync.sqlite import SQLiteEventStorage, SQLiteQueue, SQLiteResultStorage, SQLiteScheduleStorage
    from .sync.tasks import SyncTaskFunction
    from .sync.worker_pool import SyncWorkerPool
    from .tasks import TaskFunction
    from .workers.pool import WorkerPool

__all__ = [
    "AsyncAzureEventStorage",
    "AsyncAzureQueue",
    "AsyncAzureResultStorage",
    "AsyncAzureScheduleStorage",
    "AsyncFileEventStorage",
    "AsyncFileQueue",
    "AsyncFileResultStorage",
    "AsyncFileScheduleStorage",
    "AsyncGCSEventStorage",
    "AsyncGCSQueue",
    "AsyncGCSResultStorage",
    "AsyncGCSScheduleStorage",
    "AsyncMemoryEventStorage",
    "AsyncMemoryQueue",
    "AsyncMemoryResultStorage",
    "AsyncMemoryScheduleStorage",
    "AsyncNATSEventStorage",
    "AsyncNATSQueue",
    "AsyncNATSResultStorage",
    "AsyncNATSScheduleStorage",
    "AsyncOmniQ",
    "AsyncPostgresEventStorage",
    "AsyncPostgresQueue",
    "AsyncPostgresResultStorage",
    "AsyncPostgresScheduleStorage",
    "AsyncRedisEventStorage",
    "AsyncRedisQueue",
    "AsyncRedisResultStorage",
    "AsyncRedisScheduleStorage",
    "AsyncS3EventStorage",
    "AsyncS3Queue",
    "AsyncS3ResultStorage",
    "AsyncS3ScheduleStorage",
    "AsyncSQLiteEventStorage",
    "AsyncSQLiteQueue",
    "AsyncSQLiteResultStorage",
    "AsyncSQLiteScheduleStorage",
    "AzureEventStorage",
    "AzureQueue",
    "AzureResultStorage",
    "AzureScheduleStorage",
    "BaseEventStorage",
    "BaseResultStorage",
    "BaseScheduleStorage",
    "BaseTaskQueue",
    "ComponentHealth",
    "Config",
    "ConfigError",
    "DeadlockError",
    "DuplicateFunctionError",
    "DuplicateTaskError",
    "FileEventStorage",
    "FileQueue",
    "FileResultStorage",
    "FileScheduleStorage",
    "GCSEventStorage",
    "GCSQueue",
    "GCSResultStorage",
    "GCSScheduleStorage",
    "GroupHandle",
    "GroupProgress",
    "Health",
    "LeaseLost",
    "MemoryEventStorage",
    "MemoryQueue",
    "MemoryResultStorage",
    "MemoryScheduleStorage",
    "NATSEventStorage",
    "NATSQueue",
    "NATSResultStorage",
    "NATSScheduleStorage",
    "NotOpenError",
    "OmniQ",
    "OmniQError",
    "OptionError",
    "PostgresEventStorage",
    "PostgresQueue",
    "PostgresResultStorage",
    "PostgresScheduleStorage",
    "QueueManager",
    "QueueStats",
    "RedisEventStorage",
    "RedisQueue",
    "RedisResultStorage",
    "RedisScheduleStorage",
    "ResultTimeoutError",
    "Retry",
    "RetryPolicy",
    "S3EventStorage",
    "S3Queue",
    "S3ResultStorage",
    "S3ScheduleStorage",
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
    "StoreUnavailableError",
    "SyncGroupHandle",
    "SyncQueueManager",
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
    "TaskPage",
    "TaskResult",
    "TaskSkipped",
    "TaskStateError",
    "TaskStatus",
    "TaskTimeoutError",
    "UnknownFunctionError",
    "WorkerInfo",
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

_BACKENDS = {
    "SQLite": "sqlite",
    "Memory": "memory",
    "File": "files",
    "Redis": "redis",
    "Postgres": "postgres",
    "NATS": "nats",
    "S3": "s3",
    "Azure": "azure",
    "GCS": "gcs",
}
_PARTS = ("Queue", "ResultStorage", "EventStorage", "ScheduleStorage")
_LAZY = {f"Async{name}{part}": f"omniq.backends.{module}" for name, module in _BACKENDS.items() for part in _PARTS}
_LAZY |= {f"{name}{part}": f"omniq.sync.{module}" for name, module in _BACKENDS.items() for part in _PARTS}
for _module, _names in {
    "omniq.app": ("AsyncOmniQ",),
    "omniq.config": ("Config",),
    "omniq.handles": ("GroupHandle", "GroupProgress", "TaskHandle"),
    "omniq.models.event": ("TaskEvent",),
    "omniq.models.result": ("TaskResult",),
    "omniq.models.schedule": ("Schedule", "ScheduleStatus", "ScheduleType"),
    "omniq.models.task": ("RetryPolicy", "Task", "TaskStatus"),
    "omniq.models.worker": ("WorkerType",),
    "omniq.notebook": ("dashboard", "event_timeline", "queue_board", "schedule_board"),
    "omniq.options": ("TaskOptions",),
    "omniq.health": ("ComponentHealth", "Health"),
    "omniq.queue_manager": ("QueueManager", "QueueStats", "Stats"),
    "omniq.storage.events": ("BaseEventStorage",),
    "omniq.storage.queue": ("BaseTaskQueue", "TaskPage"),
    "omniq.storage.results": ("BaseResultStorage",),
    "omniq.storage.schedules": ("BaseScheduleStorage",),
    "omniq.storage.workers": ("WorkerInfo",),
    "omniq.sync.app": ("OmniQ",),
    "omniq.sync.handles": ("SyncGroupHandle", "SyncTaskHandle"),
    "omniq.sync.queue_manager": ("SyncQueueManager",),
    "omniq.sync.tasks": ("SyncTaskFunction",),
    "omniq.sync.worker_pool": ("SyncWorkerPool",),
    "omniq.tasks": ("TaskFunction",),
    "omniq.workers.pool": ("WorkerPool",),
}.items():
    _LAZY |= dict.fromkeys(_names, _module)

P = ParamSpec("P")
R = TypeVar("R")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext omniq``: the magics, and a current app."""
    importlib.import_module("omniq.notebook").load_ipython_extension(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext omniq`` undoes everything."""
    importlib.import_module("omniq.notebook").unload_ipython_extension(shell)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'omniq' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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
    from .registry import DEFAULT
    from .tasks import register

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
