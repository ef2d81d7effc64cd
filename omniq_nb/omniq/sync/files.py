# Generated from omniq/backends/files.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.files` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.files import AsyncFileEventStorage, AsyncFileQueue, AsyncFileResultStorage, AsyncFileScheduleStorage
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class FileQueue(SyncTaskQueue):
    """The task queue in a directory; the store is its path or a ``file://`` URL."""

    _async: AsyncFileQueue
    _async_class: ClassVar[type[AsyncFileQueue]] = AsyncFileQueue


class FileResultStorage(SyncResultStorage):
    """The results in a directory; the store is its path or a ``file://`` URL."""

    _async: AsyncFileResultStorage
    _async_class: ClassVar[type[AsyncFileResultStorage]] = AsyncFileResultStorage


class FileEventStorage(SyncEventStorage):
    """The events in a directory; the store is its path or a ``file://`` URL."""

    _async: AsyncFileEventStorage
    _async_class: ClassVar[type[AsyncFileEventStorage]] = AsyncFileEventStorage


class FileScheduleStorage(SyncScheduleStorage):
    """The schedules in a directory; the store is its path or a ``file://`` URL."""

    _async: AsyncFileScheduleStorage
    _async_class: ClassVar[type[AsyncFileScheduleStorage]] = AsyncFileScheduleStorage
