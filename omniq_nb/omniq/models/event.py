"""The event: one thing that happened to a task, schedule, worker or queue."""

from __future__ import annotations

import msgspec


class TaskEvent(msgspec.Struct, array_like=True, gc=False):
    """One event. The frame that `omniq.events()` gives has one column per field.

    Attributes:
        ts: Microseconds since 1970, UTC.
        event_type: ``task.enqueued|started|succeeded|failed|retried|released|cancelled|expired|dead``,
            ``schedule.*``, ``worker.*``, ``queue.*``. An attempt that raises gives ``task.failed``, and with it
            ``task.retried`` if another one follows, else ``task.dead``.
        task_id: The task, or ``None``.
        func: Name of the task's function.
        queue: The queue's name.
        worker: Who ran it.
        attempt: Number of the attempt, from 1; 0 before the first.
        duration: Seconds that the attempt ran.
        schedule_id: The schedule that made the task.
        data: Anything else, as JSON text.
    """

    ts: int
    event_type: str
    task_id: str | None = None
    func: str | None = None
    queue: str | None = None
    worker: str | None = None
    attempt: int = 0
    duration: float | None = None
    schedule_id: str | None = None
    data: str | None = None


EVENT_FIELDS: tuple[str, ...] = TaskEvent.__struct_fields__
"""Names and order of the frame's columns."""
