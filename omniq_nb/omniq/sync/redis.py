# Generated from omniq/backends/redis.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.redis` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.redis import AsyncRedisEventStorage, AsyncRedisQueue, AsyncRedisResultStorage, AsyncRedisScheduleStorage
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class RedisQueue(SyncTaskQueue):
    """The task queue in Redis; the store is a ``redis://`` or ``redis+cluster://`` URL."""

    _async: AsyncRedisQueue
    _async_class: ClassVar[type[AsyncRedisQueue]] = AsyncRedisQueue


class RedisResultStorage(SyncResultStorage):
    """The results in Redis; the store is a ``redis://`` or ``redis+cluster://`` URL."""

    _async: AsyncRedisResultStorage
    _async_class: ClassVar[type[AsyncRedisResultStorage]] = AsyncRedisResultStorage


class RedisEventStorage(SyncEventStorage):
    """The events in Redis; the store is a ``redis://`` or ``redis+cluster://`` URL."""

    _async: AsyncRedisEventStorage
    _async_class: ClassVar[type[AsyncRedisEventStorage]] = AsyncRedisEventStorage


class RedisScheduleStorage(SyncScheduleStorage):
    """The schedules in Redis; the store is a ``redis://`` or ``redis+cluster://`` URL."""

    _async: AsyncRedisScheduleStorage
    _async_class: ClassVar[type[AsyncRedisScheduleStorage]] = AsyncRedisScheduleStorage
