"""What an attempt's end means for task, result and events: decided here, written elsewhere."""

from __future__ import annotations

import msgspec

from ..clock import SECOND
from ..models.event import TaskEvent
from ..models.record import Record
from ..models.result import RESULT, ErrorInfo, ResultBody, encode_result, result_key
from ..models.task import TaskSpec, spec_of
from . import lifecycle
from .retry import delay_before, may_retry


class Claimed(msgspec.Struct, gc=False):
    """A claimed task: its record, which holds the fencing token, and its decoded body."""

    record: Record
    spec: TaskSpec


class Succeeded(msgspec.Struct, frozen=True, gc=False):
    """The function returned; ``value`` is serialized."""

    value: bytes


class Raised(msgspec.Struct, frozen=True, gc=False):
    """The attempt raised.

    Attributes:
        error: What is kept of the exception.
        names: Its class's names (see `omniq.core.retry.class_names`).
        final: Never to be tried again, whatever the policy says.
        requested: The task itself asked for another attempt, so its class does not matter.
        delay: Seconds until then, if the task named them.
    """

    error: ErrorInfo
    names: tuple[str, ...] = ()
    final: bool = False
    requested: bool = False
    delay: float | None = None


class Released(msgspec.Struct, frozen=True, gc=False):
    """The worker hands the task back without an outcome."""


Outcome = Succeeded | Raised | Released


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """The writes that one outcome asks for; those besides the task's count only if the task's applied."""

    task: Record
    previous: Record
    result: Record | None
    events: tuple[TaskEvent, ...]


def settle(claimed: Claimed, outcome: Outcome, *, worker: str, started_at: int, now: int, chance: float) -> Settlement:
    """The settlement of one attempt.

    Args:
        claimed: As the claim gave it.
        outcome: How the attempt ended.
        worker: Who ran it.
        started_at: When it began, in microseconds since 1970.
        now: When it ended.
        chance: A random number from 0 to 1, for the jitter.
    """
    record, spec = claimed.record, claimed.spec
    match outcome:
        case Succeeded(value):
            task = lifecycle.succeed(record, spec, now)
            body = ResultBody("succeeded", value, None, worker, started_at, now)
            event = _event(claimed, "task.succeeded", worker, started_at, now)
            return Settlement(task, record, _result(task, body, now), (event,))
        case Released():
            task = lifecycle.release(record, spec, now)
            return Settlement(task, record, None, (_event(claimed, "task.released", worker, started_at, now),))
        case Raised():
            return _raised(claimed, outcome, worker=worker, started_at=started_at, now=now, chance=chance)


def _raised(claimed: Claimed, raised: Raised, *, worker: str, started_at: int, now: int, chance: float) -> Settlement:
    record, spec = claimed.record, claimed.spec
    if not _tries_again(spec, raised):
        return fail(claimed, raised.error, worker=worker, started_at=started_at, now=now)
    wait = delay_before(spec.retry, spec.failures, chance) if raised.delay is None else raised.delay
    task = lifecycle.retry(record, spec, str(raised.error), now + round(wait * SECOND), now)
    failed = _event(claimed, "task.failed", worker, started_at, now, _data(error=str(raised.error)))
    retried = _event(claimed, "task.retried", worker, started_at, now, _data(delay=wait))
    return Settlement(task, record, None, (failed, retried))


def fail(claimed: Claimed, error: ErrorInfo, *, worker: str, started_at: int, now: int) -> Settlement:
    """The settlement of a task that is not tried again."""
    task = lifecycle.fail(claimed.record, claimed.spec, str(error), now)
    body = ResultBody("failed", None, error, worker, started_at, now)
    data = _data(error=str(error))
    events = tuple(_event(claimed, name, worker, started_at, now, data) for name in ("task.failed", "task.dead"))
    return Settlement(task, claimed.record, _result(task, body, now), events)


def expire(claimed: Claimed, now: int) -> Settlement:
    """The settlement of a task whose time to live ended."""
    task = lifecycle.expire(claimed.record, claimed.spec, now)
    event = TaskEvent(now, "task.expired", task.key, claimed.spec.func, task.partition, None, task.claims)
    return Settlement(task, claimed.record, None, (event,))


def refuse(refused: Settlement, error: ErrorInfo, now: int) -> Settlement:
    """The settlement in the place of one that the store does not take: a value that is too large, perhaps."""
    claimed, event = Claimed(refused.previous, spec_of(refused.previous)), refused.events[0]
    started_at = event.ts - round((event.duration or 0) * SECOND)
    return fail(claimed, error, worker=event.worker or "", started_at=started_at, now=now)


def _tries_again(spec: TaskSpec, raised: Raised) -> bool:
    if raised.final:
        return False
    if raised.requested:
        return spec.failures < spec.retry.max_retries
    return may_retry(spec.retry, spec.failures, raised.names)


def _result(task: Record, body: ResultBody, now: int) -> Record:
    key = result_key(task.key, task.claims)
    return Record(RESULT, key, task.partition, "", 0, None, None, 0, 1, now, now, task.expires_at, encode_result(body))


def _event(claimed: Claimed, kind: str, worker: str, started_at: int, now: int, data: str | None = None) -> TaskEvent:
    record = claimed.record
    duration = (now - started_at) / SECOND
    return TaskEvent(
        now, kind, record.key, claimed.spec.func, record.partition, worker, record.claims, duration,
        claimed.spec.schedule_id, data,
    )  # fmt: skip


def _data(**values: object) -> str:
    return msgspec.json.encode(values).decode()
