"""The schedule: when to make a task, again and again."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

SCHEDULE = "schedule"
"""Kind of a schedule's record."""


class ScheduleType(StrEnum):
    """What decides the fire times."""

    CRON = "cron"
    INTERVAL = "interval"
    ONCE = "once"


class ScheduleStatus(StrEnum):
    """Where a schedule stands."""

    ACTIVE = "active"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it was when it was read.

    Attributes:
        id: Names it for ever.
        func: Name of the function whose tasks it makes.
        schedule_type: What decides the fire times.
        status: Whether it fires.
        cron_expression: Five fields; for type CRON.
        interval: Seconds; for type INTERVAL.
        timezone: IANA name that a cron expression is read in.
        next_run_at: The next fire time.
        created_at: When it was made.
        expires_at: It fires no more from then on.
        run_count: How often it has fired.
        max_runs: How often it fires at most.
        args: The tasks' positional arguments.
        kwargs: The tasks' keyword arguments.
        queue: The tasks' queue.
        metadata: What was attached to it.
    """

    id: str
    func: str
    schedule_type: ScheduleType
    status: ScheduleStatus = ScheduleStatus.ACTIVE
    cron_expression: str | None = None
    interval: float | None = None
    timezone: str = "UTC"
    next_run_at: datetime | None = None
    created_at: datetime
    expires_at: datetime | None = None
    run_count: int = 0
    max_runs: int | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    queue: str = "default"
    metadata: dict[str, Any] = {}
