"""What a user chooses of a worker."""

from __future__ import annotations

from enum import StrEnum

DEFAULT_CONCURRENCY = 100
"""Tasks at a time, unless said otherwise."""


class WorkerType(StrEnum):
    """How a worker pool runs tasks."""

    ASYNC = "async"
    THREAD_POOL = "thread"
