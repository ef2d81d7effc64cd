# Generated from omniq/backends/postgres.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.postgres` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.postgres import (
    AsyncPostgresEventStorage,
    AsyncPostgresQueue,
    AsyncPostgresResultStorage,
    AsyncPostgresScheduleStorage,
)
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class PostgresQueue(SyncTaskQueue):
    """The task queue in a PostgreSQL database; the store is a ``postgresql://`` URL."""

    _async: AsyncPostgresQueue
    _async_class: ClassVar[type[AsyncPostgresQueue]] = AsyncPostgresQueue


class PostgresResultStorage(SyncResultStorage):
    """The results in a PostgreSQL database; the store is a ``postgresql://`` URL."""

    _async: AsyncPostgresResultStorage
    _async_class: ClassVar[type[AsyncPostgresResultStorage]] = AsyncPostgresResultStorage


class PostgresEventStorage(SyncEventStorage):
    """The events in a PostgreSQL database; the store is a ``postgresql://`` URL."""

    _async: AsyncPostgresEventStorage
    _async_class: ClassVar[type[AsyncPostgresEventStorage]] = AsyncPostgresEventStorage


class PostgresScheduleStorage(SyncScheduleStorage):
    """The schedules in a PostgreSQL database; the store is a ``postgresql://`` URL."""

    _async: AsyncPostgresScheduleStorage
    _async_class: ClassVar[type[AsyncPostgresScheduleStorage]] = AsyncPostgresScheduleStorage
