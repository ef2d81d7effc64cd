# Generated from omniq/backends/gcs.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.gcs` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.gcs import AsyncGCSEventStorage, AsyncGCSQueue, AsyncGCSResultStorage, AsyncGCSScheduleStorage
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class GCSQueue(SyncTaskQueue):
    """The task queue in a bucket of Google Cloud Storage; the store is a ``gs://`` URL."""

    _async: AsyncGCSQueue
    _async_class: ClassVar[type[AsyncGCSQueue]] = AsyncGCSQueue


class GCSResultStorage(SyncResultStorage):
    """The results in a bucket of Google Cloud Storage; the store is a ``gs://`` URL."""

    _async: AsyncGCSResultStorage
    _async_class: ClassVar[type[AsyncGCSResultStorage]] = AsyncGCSResultStorage


class GCSEventStorage(SyncEventStorage):
    """The events in a bucket of Google Cloud Storage; the store is a ``gs://`` URL."""

    _async: AsyncGCSEventStorage
    _async_class: ClassVar[type[AsyncGCSEventStorage]] = AsyncGCSEventStorage


class GCSScheduleStorage(SyncScheduleStorage):
    """The schedules in a bucket of Google Cloud Storage; the store is a ``gs://`` URL."""

    _async: AsyncGCSScheduleStorage
    _async_class: ClassVar[type[AsyncGCSScheduleStorage]] = AsyncGCSScheduleStorage
