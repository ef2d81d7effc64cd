# Generated from omniq/backends/azure.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.azure` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.azure import AsyncAzureEventStorage, AsyncAzureQueue, AsyncAzureResultStorage, AsyncAzureScheduleStorage
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class AzureQueue(SyncTaskQueue):
    """The task queue in a container of Azure Blob Storage; the store is an ``az://`` URL."""

    _async: AsyncAzureQueue
    _async_class: ClassVar[type[AsyncAzureQueue]] = AsyncAzureQueue


class AzureResultStorage(SyncResultStorage):
    """The results in a container of Azure Blob Storage; the store is an ``az://`` URL."""

    _async: AsyncAzureResultStorage
    _async_class: ClassVar[type[AsyncAzureResultStorage]] = AsyncAzureResultStorage


class AzureEventStorage(SyncEventStorage):
    """The events in a container of Azure Blob Storage; the store is an ``az://`` URL."""

    _async: AsyncAzureEventStorage
    _async_class: ClassVar[type[AsyncAzureEventStorage]] = AsyncAzureEventStorage


class AzureScheduleStorage(SyncScheduleStorage):
    """The schedules in a container of Azure Blob Storage; the store is an ``az://`` URL."""

    _async: AsyncAzureScheduleStorage
    _async_class: ClassVar[type[AsyncAzureScheduleStorage]] = AsyncAzureScheduleStorage
