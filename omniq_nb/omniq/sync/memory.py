# Generated from omniq/backends/memory.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.memory` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.memory import (
    AsyncMemoryEventStorage,
    AsyncMemoryQueue,
    AsyncMemoryResultStorage,
    AsyncMemoryScheduleStorage,
)
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class MemoryQueue(SyncTaskQueue):
    """The task queue in this process's memory; the store is a name or a ``memory://`` URL."""

    _async: AsyncMemoryQueue
    _async_class: ClassVar[type[AsyncMemoryQueue]] = AsyncMemoryQueue


class MemoryResultStorage(SyncResultStorage):
    """The results in this process's memory; the store is a name or a ``memory://`` URL."""

    _async: AsyncMemoryResultStorage
    _async_class: ClassVar[type[AsyncMemoryResultStorage]] = AsyncMemoryResultStorage


class MemoryEventStorage(SyncEventStorage):
    """The events in this process's memory; the store is a name or a ``memory://`` URL."""

    _async: AsyncMemoryEventStorage
    _async_class: ClassVar[type[AsyncMemoryEventStorage]] = AsyncMemoryEventStorage


class MemoryScheduleStorage(SyncScheduleStorage):
    """The schedules in this process's memory; the store is a name or a ``memory://`` URL."""

    _async: AsyncMemoryScheduleStorage
    _async_class: ClassVar[type[AsyncMemoryScheduleStorage]] = AsyncMemoryScheduleStorage
