# Generated from omniq/backends/s3.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.backends.s3` without ``await``."""

from __future__ import annotations

from typing import ClassVar

from ..backends.s3 import AsyncS3EventStorage, AsyncS3Queue, AsyncS3ResultStorage, AsyncS3ScheduleStorage
from .events import SyncEventStorage
from .queue import SyncTaskQueue
from .results import SyncResultStorage
from .schedules import SyncScheduleStorage


class S3Queue(SyncTaskQueue):
    """The task queue in a bucket of S3; the store is an ``s3://`` URL."""

    _async: AsyncS3Queue
    _async_class: ClassVar[type[AsyncS3Queue]] = AsyncS3Queue


class S3ResultStorage(SyncResultStorage):
    """The results in a bucket of S3; the store is an ``s3://`` URL."""

    _async: AsyncS3ResultStorage
    _async_class: ClassVar[type[AsyncS3ResultStorage]] = AsyncS3ResultStorage


class S3EventStorage(SyncEventStorage):
    """The events in a bucket of S3; the store is an ``s3://`` URL."""

    _async: AsyncS3EventStorage
    _async_class: ClassVar[type[AsyncS3EventStorage]] = AsyncS3EventStorage


class S3ScheduleStorage(SyncScheduleStorage):
    """The schedules in a bucket of S3; the store is an ``s3://`` URL."""

    _async: AsyncS3ScheduleStorage
    _async_class: ClassVar[type[AsyncS3ScheduleStorage]] = AsyncS3ScheduleStorage
