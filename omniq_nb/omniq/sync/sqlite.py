# Generated from omniq/backends/sqlite.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.sqlite` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.sqlite import (
    AsyncSQLiteEventStorage,
    AsyncSQLiteQueue,
    AsyncSQLiteResultStorage,
    AsyncSQLiteScheduleStorage,
)
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class SQLiteQueue(SyncTaskQueue):
    """The task queue in a SQLite file; the store is its path or a ``sqlite://`` URL."""

    _async: AsyncSQLiteQueue
    _async_class: ClassVar[type[AsyncSQLiteQueue]] = AsyncSQLiteQueue


class SQLiteResultStorage(SyncResultStorage):
    """The results in a SQLite file; the store is its path or a ``sqlite://`` URL."""

    _async: AsyncSQLiteResultStorage
    _async_class: ClassVar[type[AsyncSQLiteResultStorage]] = AsyncSQLiteResultStorage


class SQLiteEventStorage(SyncEventStorage):
    """The events in a SQLite file; the store is its path or a ``sqlite://`` URL."""

    _async: AsyncSQLiteEventStorage
    _async_class: ClassVar[type[AsyncSQLiteEventStorage]] = AsyncSQLiteEventStorage


class SQLiteScheduleStorage(SyncScheduleStorage):
    """The schedules in a SQLite file; the store is its path or a ``sqlite://`` URL."""

    _async: AsyncSQLiteScheduleStorage
    _async_class: ClassVar[type[AsyncSQLiteScheduleStorage]] = AsyncSQLiteScheduleStorage
