# Generated from omniq/backends/nats.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.nats` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.nats import AsyncNATSEventStorage, AsyncNATSQueue, AsyncNATSResultStorage, AsyncNATSScheduleStorage
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class NATSQueue(SyncTaskQueue):
    """The task queue on NATS; the store is a ``nats://`` or ``tls://`` URL."""

    _async: AsyncNATSQueue
    _async_class: ClassVar[type[AsyncNATSQueue]] = AsyncNATSQueue


class NATSResultStorage(SyncResultStorage):
    """The results on NATS; the store is a ``nats://`` or ``tls://`` URL."""

    _async: AsyncNATSResultStorage
    _async_class: ClassVar[type[AsyncNATSResultStorage]] = AsyncNATSResultStorage


class NATSEventStorage(SyncEventStorage):
    """The events on NATS; the store is a ``nats://`` or ``tls://`` URL."""

    _async: AsyncNATSEventStorage
    _async_class: ClassVar[type[AsyncNATSEventStorage]] = AsyncNATSEventStorage


class NATSScheduleStorage(SyncScheduleStorage):
    """The schedules on NATS; the store is a ``nats://`` or ``tls://`` URL."""

    _async: AsyncNATSScheduleStorage
    _async_class: ClassVar[type[AsyncNATSScheduleStorage]] = AsyncNATSScheduleStorage
