"""What the page is told, in its own terms: pure conversions from what the store holds. See widgets/PROTOCOL.md.

Moments are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..models.event import TaskEvent
from ..models.record import Record
from ..models.schedule import Schedule
from ..models.task import TaskStatus, spec_of
from ..storage.workers import WorkerInfo

Json = dict[str, Any]
"""A value that travels to the page."""
Groups = Mapping[tuple[str, str], int]
"""How many tasks there are in each (queue, status)."""

STATUSES = tuple(status.value for status in TaskStatus)
WAITING = frozenset({TaskStatus.BLOCKED.value, TaskStatus.PENDING.value})


def millis(micros: int) -> float:
    """Microseconds as milliseconds."""
    return micros / 1000


def millis_or_none(micros: int | None) -> float | None:
    """Microseconds as milliseconds, if there are any."""
    return None if micros is None else micros / 1000


def counts_of(counts: Mapping[str, int]) -> dict[str, int]:
    """A number for every status."""
    return {status: counts.get(status, 0) for status in STATUSES}


def totals(groups: Groups) -> dict[str, int]:
    """Tasks in each status, over all queues."""
    counts: dict[str, int] = {}
    for (_, status), n in groups.items():
        counts[status] = counts.get(status, 0) + n
    return counts_of(counts)


def queue_rows(groups: Groups, paused: Iterable[str]) -> list[Json]:
    """The queues: those that have tasks, and those that are paused."""
    stopped = frozenset(paused)
    queues: dict[str, dict[str, int]] = {name: {} for name in stopped}
    for (name, status), n in groups.items():
        queues.setdefault(name, {})[status] = n
    return [
        {"name": name, "paused": name in stopped, "counts": counts_of(counts)}
        for name, counts in sorted(queues.items())
    ]


def worker_row(info: WorkerInfo, running: int | None = None) -> Json:
    """A worker pool; ``running``: what its tasks say, where that is newer than its last report."""
    return {
        "id": info.id,
        "host": info.host,
        "pid": info.pid,
        "type": info.type,
        "concurrency": info.concurrency,
        "running": info.running if running is None else running,
        "queues": list(info.queues),
        "seen_at": info.seen_at.timestamp() * 1000,
    }


def task_row(record: Record, ran: tuple[int, int] | None = None) -> Json:
    """A task.

    Args:
        record: As it is now.
        ran: When its last attempt began and ended, in microseconds, if a result tells.
    """
    spec = spec_of(record)
    status = TaskStatus(record.state)
    started = record.updated_at if status is TaskStatus.RUNNING else ran[0] if ran else None
    finished = ran[1] if ran else record.updated_at
    return {
        "id": record.key,
        "func": spec.func,
        "queue": record.partition,
        "priority": -record.rank,
        "status": status.value,
        "attempt": record.claims,
        "max_retries": spec.retry.max_retries,
        "created_at": millis(record.created_at),
        "run_at": millis_or_none(record.due_at) if record.state in WAITING else None,
        "started_at": millis_or_none(started),
        "finished_at": millis(finished) if status.is_final else None,
        "error": None if status is TaskStatus.SUCCEEDED else spec.error,
    }


def event_row(event: TaskEvent) -> Json:
    """An event."""
    return {
        "ts": millis(event.ts),
        "event_type": event.event_type,
        "task_id": event.task_id or "",
        "func": event.func or "",
        "queue": event.queue or "",
        "worker": event.worker or "",
        "duration": event.duration,
    }


def schedule_row(schedule: Schedule) -> Json:
    """A schedule."""
    when = schedule.cron_expression or (f"every {schedule.interval:g} s" if schedule.interval else "once")
    next_at = schedule.next_run_at
    return {
        "id": schedule.id,
        "func": schedule.func,
        "when": when,
        "status": schedule.status.value,
        "next_at": None if next_at is None else next_at.timestamp() * 1000,
        "runs": schedule.run_count,
    }
