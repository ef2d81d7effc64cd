"""The life of a task: every transition is one function from a record to the next record.

The single source of the state machine: CONTRIBUTING.md draws `TRANSITIONS`, and a test compares the two.
"""

from __future__ import annotations

import msgspec

from ..clock import SECOND
from ..models.record import Record
from ..models.task import TASK, TaskSpec, TaskStatus, encode_spec

TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.BLOCKED: frozenset({TaskStatus.PENDING, TaskStatus.SKIPPED, TaskStatus.CANCELLED, TaskStatus.EXPIRED}),
    TaskStatus.PENDING: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELLED, TaskStatus.EXPIRED}),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.SUCCEEDED,
            TaskStatus.FAILED,
            TaskStatus.PENDING,
            TaskStatus.RUNNING,
            TaskStatus.CANCELLED,
            TaskStatus.EXPIRED,
        }
    ),
    TaskStatus.SUCCEEDED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.PENDING}),
    TaskStatus.CANCELLED: frozenset({TaskStatus.PENDING}),
    TaskStatus.EXPIRED: frozenset({TaskStatus.PENDING}),
    TaskStatus.SKIPPED: frozenset({TaskStatus.PENDING}),
}
"""From each state to those that may follow it. Running to running: another worker took it after its lease ran out."""

REPLAYABLE = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED, TaskStatus.SKIPPED})
"""What `replay` accepts."""

CANCELLABLE = frozenset({TaskStatus.BLOCKED, TaskStatus.PENDING, TaskStatus.RUNNING})
"""What `cancel` accepts."""

PURGED = (TaskStatus.SUCCEEDED, TaskStatus.CANCELLED, TaskStatus.EXPIRED, TaskStatus.SKIPPED)
"""What a purge deletes unless it is told otherwise: what has ended, but no dead letters."""

DOOMED = 1
"""The ``expires_at`` of a task that is being deleted: no other task has this moment, and it is over by any clock."""

# What records hold; asking a member for its value takes as long as making a record.
_PENDING = TaskStatus.PENDING.value
_SUCCEEDED = TaskStatus.SUCCEEDED.value
_FAILED = TaskStatus.FAILED.value
_CANCELLED = TaskStatus.CANCELLED.value
_EXPIRED = TaskStatus.EXPIRED.value


def enqueue(
    task_id: str, queue: str, priority: int, spec: TaskSpec, now: int, due_at: int, expires_at: int | None
) -> Record:
    """A new task: pending, due at ``due_at``."""
    return Record(
        TASK, task_id, queue, _PENDING, -priority, due_at, None, 0, 1, now, now, expires_at,
        encode_spec(spec),
    )  # fmt: skip


def succeed(record: Record, spec: TaskSpec, now: int) -> Record:
    """Running to succeeded."""
    return _settled(record, _SUCCEEDED, now, _retention(spec, now), record.body)


def fail(record: Record, spec: TaskSpec, error: str, now: int) -> Record:
    """Running to failed: the task is in the dead letters now."""
    body = _body(spec, failures=spec.failures + 1, orderly=spec.orderly + 1, error=error)
    return _settled(record, _FAILED, now, _retention(spec, now), body)


def retry(record: Record, spec: TaskSpec, error: str, due_at: int, now: int) -> Record:
    """Running to pending: the attempt raised, another one follows."""
    body = _body(spec, failures=spec.failures + 1, orderly=spec.orderly + 1, error=error)
    return _waiting(record, due_at, now, record.expires_at, body)


def release(record: Record, spec: TaskSpec, now: int) -> Record:
    """Running to pending: the worker hands the lease back without an outcome; the attempt does not count as failed."""
    return _waiting(record, now, now, record.expires_at, _body(spec, orderly=spec.orderly + 1))


def cancel(record: Record, spec: TaskSpec, now: int) -> Record:
    """Blocked, pending or running to cancelled. A running task's lease is gone with its version."""
    return _settled(record, _CANCELLED, now, _retention(spec, now), record.body)


def expire(record: Record, spec: TaskSpec, now: int) -> Record:
    """Its time to live ended before it could be run."""
    return _settled(record, _EXPIRED, now, _retention(spec, now), record.body)


def replay(record: Record, spec: TaskSpec, now: int) -> Record:
    """A task that ended without success, back to pending, with all of its retries again."""
    body = _body(spec, failures=0, orderly=record.claims, error=None)
    return _waiting(record, now, now, None, body)


def move(record: Record, queue: str, now: int) -> Record:
    """Blocked or pending, in another queue; its state, its place by priority and age, and its moment stay."""
    return msgspec.structs.replace(record, partition=queue, version=record.version + 1, updated_at=now)


def doom(record: Record) -> Record:
    """A task that is about to be deleted: nobody runs or replays it any more.

    It stays in the store until all that belongs to it is gone elsewhere. Should that be broken off, maintenance finds
    it by its moment, like any other task that was kept for long enough.
    """
    state = record.state if TaskStatus(record.state).is_final else _CANCELLED
    return _settled(record, state, record.updated_at, DOOMED, record.body)


def is_doomed(record: Record) -> bool:
    """Whether a task is being deleted: users are told that there is no such task."""
    return record.expires_at == DOOMED


def is_overdue(record: Record, now: int) -> bool:
    """Whether a task's time to live has ended."""
    return record.expires_at is not None and record.expires_at <= now


def is_poison(record: Record, spec: TaskSpec, max_claims: int) -> bool:
    """Whether so many workers vanished over a task that the claim just made should not run it."""
    return record.claims - spec.orderly > max_claims


def _settled(record: Record, state: str, now: int, expires_at: int | None, body: bytes) -> Record:
    return Record(
        record.kind, record.key, record.partition, state, record.rank, None, None, record.claims,
        record.version + 1, record.created_at, now, expires_at, body,
    )  # fmt: skip


def _waiting(record: Record, due_at: int, now: int, expires_at: int | None, body: bytes) -> Record:
    return Record(
        record.kind, record.key, record.partition, _PENDING, record.rank, due_at, None, record.claims,
        record.version + 1, record.created_at, now, expires_at, body,
    )  # fmt: skip


def _body(spec: TaskSpec, **changes: object) -> bytes:
    return encode_spec(msgspec.structs.replace(spec, **changes))


def _retention(spec: TaskSpec, now: int) -> int | None:
    return None if spec.result_ttl is None else now + round(spec.result_ttl * SECOND)
