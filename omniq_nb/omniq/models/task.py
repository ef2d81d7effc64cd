"""The task: what a user sees of it, and what its record's body holds."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ..clock import to_datetime
from ..display import Displayed
from ..errors import OptionError
from ..ids import is_unique
from .record import Record

TASK = "task"
"""Kind of a task's record."""


class TaskStatus(StrEnum):
    """Where a task stands; `omniq.core.lifecycle` has the transitions."""

    BLOCKED = "blocked"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the task by itself."""
        return self in _FINAL


_FINAL = frozenset(
    {TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.EXPIRED, TaskStatus.SKIPPED}
)


def life_of(task_id: str, created_at: int) -> str:
    """Names one task among all that ever have its id: what begins with it belongs to no other.

    Ids of our own name one task for ever. One that the user gave may be used again after a purge.
    """
    return task_id if is_unique(task_id) else f"{task_id}.{created_at:x}"


def id_of(life: str) -> str:
    """The id of the task that a life belongs to."""
    return life if is_unique(life) else life.rpartition(".")[0]


Statuses = TaskStatus | str | Collection[TaskStatus | str]
"""One status or several, as members or by name."""


def status_of(name: str) -> TaskStatus:
    """The status of this name.

    Raises:
        OptionError: There is none.
    """
    try:
        return TaskStatus(name)
    except ValueError as error:
        raise OptionError(f"no status {name!r}: the statuses are {', '.join(TaskStatus)}") from error


def statuses_of(given: Statuses) -> list[TaskStatus]:
    """The statuses that are meant; raises as `status_of` does."""
    return [status_of(each) for each in ((given,) if isinstance(given, str) else given)]


class RetryPolicy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When a task that raised is tried again.

    Attributes:
        max_retries: Tries after the first.
        delay: Seconds before the first retry.
        backoff: Each further delay is so many times the one before.
        jitter: Share of the delay, 0 to 1, that chance takes off or adds, so that tasks don't return all at once.
        max_delay: No delay is longer, in seconds.
        retry_on: Qualified names of exception classes (``builtins.ValueError``); if any, only these are retried.
        no_retry_on: These are never retried; they go before ``retry_on``.
    """

    max_retries: int = 3
    delay: float = 1.0
    backoff: float = 2.0
    jitter: float = 0.1
    max_delay: float = 3600.0
    retry_on: tuple[str, ...] = ()
    no_retry_on: tuple[str, ...] = ()


class TaskSpec(msgspec.Struct, array_like=True, gc=False):
    """The body of a task's record. New fields go to the end, with a default: stored tasks stay readable.

    Attributes:
        func: Name of the function.
        payload: Its arguments, serialized as one value: ``[args, kwargs]``.
        code: Digest of the shipped function, ``None`` when the worker has to know it.
        retry: The retry policy.
        timeout: Seconds that one attempt may run, or ``None``.
        result_ttl: Seconds that task and result are kept after the end, or ``None``: until they are purged.
        metadata: Whatever the user attached; plain values.
        depends_on: Ids of the tasks that it waits for.
        schedule_id: The schedule that made it.
        failures: Attempts that ended with an exception.
        orderly: Claims that ended in an orderly way: raised, or handed back. The others' workers vanished.
        error: Text of the last exception, ``Type: message``.
    """

    func: str
    payload: bytes
    code: str | None = None
    retry: RetryPolicy = RetryPolicy()
    timeout: float | None = None
    result_ttl: float | None = None
    metadata: dict[str, Any] = {}
    depends_on: tuple[str, ...] = ()
    schedule_id: str | None = None
    failures: int = 0
    orderly: int = 0
    error: str | None = None


class Task(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """A task as it was when it was read.

    Attributes:
        id: Names it for ever; time-ordered.
        func: Name of its function.
        queue: The queue that it waits in.
        priority: Larger runs first.
        status: Where it stands.
        attempt: Number of the present or last attempt; 0 before the first.
        max_retries: Tries after the first.
        run_at: When it becomes due, if it waits; when its lease ends, if it runs; else ``None``.
        created_at: When it was enqueued.
        updated_at: When it last changed.
        expires_at: If it waits, when its time to live ends; if it has ended, when it will be deleted.
        timeout: Seconds that one attempt may run.
        depends_on: Ids of the tasks that it waits for.
        metadata: What was attached to it.
        schedule_id: The schedule that made it.
        worker: Who runs it now.
        error: The last exception, ``Type: message``.
    """

    id: str
    func: str
    queue: str
    priority: int
    status: TaskStatus
    attempt: int
    max_retries: int
    run_at: datetime | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    timeout: float | None
    depends_on: tuple[str, ...]
    metadata: dict[str, Any]
    schedule_id: str | None
    worker: str | None
    error: str | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(TaskSpec).decode


def encode_spec(spec: TaskSpec) -> bytes:
    """The body of a task's record."""
    return _encode(spec)


def decode_spec(body: bytes) -> TaskSpec:
    """What `encode_spec` encoded.

    Raises:
        msgspec.DecodeError: The bytes are something else.
    """
    return _decode(body)


def spec_of(record: Record) -> TaskSpec:
    """What a task's record says of it. Of one that can't be read it says just that: nobody is to stumble over it."""
    try:
        return _decode(record.body)
    except msgspec.MsgspecError as error:
        return TaskSpec("?", b"", error=f"the task's record can't be read: {error}")


def task_of(record: Record) -> Task:
    """A task's record as the user sees it."""
    spec = spec_of(record)
    return Task(
        id=record.key,
        func=spec.func,
        queue=record.partition,
        priority=-record.rank,
        status=TaskStatus(record.state),
        attempt=record.claims,
        max_retries=spec.retry.max_retries,
        run_at=_moment(record.due_at),
        created_at=to_datetime(record.created_at),
        updated_at=to_datetime(record.updated_at),
        expires_at=_moment(record.expires_at),
        timeout=spec.timeout,
        depends_on=spec.depends_on,
        metadata=spec.metadata,
        schedule_id=spec.schedule_id,
        worker=record.owner,
        error=spec.error,
    )


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else to_datetime(micros)
