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

ClaimToken = tuple[str, int]
"""Key and version of a claimed record: the version is the fence."""


class Claimed(msgspec.Struct, gc=False):
    """A claimed task: its record, which holds the fencing token, and its decoded body."""

    record: Record
    spec: TaskSpec

    @property
    def token(self) -> ClaimToken:
        """Names this claim among all."""
        return self.record.key, self.record.version

    @property
    def lease(self) -> int:
        """Microseconds that the claim gave."""
        return (self.record.due_at or 0) - self.record.updated_at


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


class Ended(msgspec.Struct, frozen=True, gc=False):
    """An attempt that has ended.

    Attributes:
        claimed: The task, as the claim gave it.
        outcome: How the attempt ended.
        started_at: When it began, in microseconds since 1970.
        ended_at: When it ended.
    """

    claimed: Claimed
    outcome: Outcome
    started_at: int
    ended_at: int


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """The writes that one outcome asks for; those besides the task's count only if the task's applied."""

    task: Record
    previous: Record
    result: Record | None
    events: tuple[TaskEvent, ...]


def settle(ended: Ended, *, worker: str, now: int, chance: float) -> Settlement:
    """The settlement of one attempt.

    Args:
        ended: The attempt.
        worker: Who ran it.
        now: When the settlement is written. Those that are written together share it, so that stores can write them as
            one; when the attempt ended is told by its result and its event.
        chance: A random number from 0 to 1, for the jitter.
    """
    outcome = ended.outcome
    if type(outcome) is Succeeded:
        return _succeeded(ended, outcome.value, worker, now)
    if isinstance(outcome, Raised):
        return _raised(ended, outcome, worker=worker, now=now, chance=chance)
    claimed = ended.claimed
    task = lifecycle.release(claimed.record, claimed.spec, now)
    return Settlement(task, claimed.record, None, (_event("task.released", ended, worker),))


def _succeeded(ended: Ended, value: bytes, worker: str, now: int) -> Settlement:
    claimed = ended.claimed
    task = lifecycle.succeed(claimed.record, claimed.spec, now)
    body = ResultBody("succeeded", value, None, worker, ended.started_at, ended.ended_at)
    return Settlement(task, claimed.record, _result(task, body, now), (_event("task.succeeded", ended, worker),))


def _raised(ended: Ended, raised: Raised, *, worker: str, now: int, chance: float) -> Settlement:
    record, spec = ended.claimed.record, ended.claimed.spec
    if not _tries_again(spec, raised):
        return _failed(ended, raised.error, worker, now)
    wait = delay_before(spec.retry, spec.failures, chance) if raised.delay is None else raised.delay
    task = lifecycle.retry(record, spec, str(raised.error), now + round(wait * SECOND), now)
    failed = _event("task.failed", ended, worker, _data(error=str(raised.error)))
    retried = _event("task.retried", ended, worker, _data(delay=wait))
    return Settlement(task, record, None, (failed, retried))


def _failed(ended: Ended, error: ErrorInfo, worker: str, now: int) -> Settlement:
    claimed = ended.claimed
    task = lifecycle.fail(claimed.record, claimed.spec, str(error), now)
    body = ResultBody("failed", None, error, worker, ended.started_at, ended.ended_at)
    data = _data(error=str(error))
    events = tuple(_event(name, ended, worker, data) for name in ("task.failed", "task.dead"))
    return Settlement(task, claimed.record, _result(task, body, now), events)


def forbid(claimed: Claimed, error: ErrorInfo, now: int) -> Settlement:
    """The settlement of a claimed task that is not to be run."""
    ended = Ended(claimed, Raised(error, final=True), now, now)
    return _failed(ended, error, claimed.record.owner or "", now)


def expire(claimed: Claimed, now: int) -> Settlement:
    """The settlement of a task whose time to live ended."""
    task = lifecycle.expire(claimed.record, claimed.spec, now)
    event = TaskEvent(now, "task.expired", task.key, claimed.spec.func, task.partition, None, task.claims)
    return Settlement(task, claimed.record, None, (event,))


def refuse(refused: Settlement, error: ErrorInfo, now: int) -> Settlement:
    """The settlement in the place of one that the store does not take: a value that is too large, perhaps."""
    claimed, event = Claimed(refused.previous, spec_of(refused.previous)), refused.events[0]
    started_at = event.ts - round((event.duration or 0) * SECOND)
    ended = Ended(claimed, Raised(error, final=True), started_at, event.ts)
    return _failed(ended, error, event.worker or "", now)


def _tries_again(spec: TaskSpec, raised: Raised) -> bool:
    if raised.final:
        return False
    if raised.requested:
        return spec.failures < spec.retry.max_retries
    return may_retry(spec.retry, spec.failures, raised.names)


def _result(task: Record, body: ResultBody, now: int) -> Record:
    key = result_key(task)
    return Record(RESULT, key, task.partition, "", 0, None, None, 0, 1, now, now, task.expires_at, encode_result(body))


def _event(name: str, ended: Ended, worker: str, data: str | None = None) -> TaskEvent:
    record, spec = ended.claimed.record, ended.claimed.spec
    duration = (ended.ended_at - ended.started_at) / SECOND
    return TaskEvent(
        ended.ended_at, name, record.key, spec.func, record.partition, worker, record.claims, duration,
        spec.schedule_id, data,
    )  # fmt: skip


def _data(**values: object) -> str:
    return msgspec.json.encode(values).decode()
