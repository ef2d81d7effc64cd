"""What became of a task, as users get it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .clock import to_datetime
from .errors import (
    ResultTimeoutError,
    TaskCancelled,
    TaskError,
    TaskExpired,
    TaskFailed,
    TaskNotFoundError,
    TaskSkipped,
)
from .models.result import TaskResult
from .models.task import TaskStatus
from .storage.results import StoredOutcome

if TYPE_CHECKING:
    from .parts import Parts

_ENDED_WITHOUT_RESULT: dict[TaskStatus, type[TaskError]] = {
    TaskStatus.CANCELLED: TaskCancelled,
    TaskStatus.EXPIRED: TaskExpired,
    TaskStatus.SKIPPED: TaskSkipped,
}


async def wait_for_outcome(parts: Parts, task_id: str, timeout: float | None) -> StoredOutcome:
    """Wait until a task has ended.

    Raises:
        ResultTimeoutError: It has not ended in ``timeout`` seconds.
        TaskNotFoundError: There is no task with this id.
    """
    waiting = parts.waiter.wait(task_id)
    if timeout is None:
        return await waiting
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return await waiting
    except TimeoutError as error:
        if not limit.expired():
            raise
        # It may have ended just now, and a busy process looks late.
        (outcome,) = await parts.results.outcomes([task_id])
        if outcome is None:
            raise TaskNotFoundError(task_id) from None
        if isinstance(outcome, StoredOutcome):
            return outcome
        raise ResultTimeoutError(task_id, timeout, outcome.state) from error


async def result_of(parts: Parts, outcome: StoredOutcome) -> TaskResult:
    """The outcome with its value read.

    Raises:
        SignatureError: The value is a pickle that was signed with another secret.
        SerializationError: It is damaged, or needs what this process lacks.
    """
    task, body = outcome.task, outcome.result
    if body is None:
        status = TaskStatus(task.state)
        return TaskResult(
            task_id=task.key, status=status, attempt=task.claims, finished_at=to_datetime(task.updated_at)
        )
    return TaskResult(
        task_id=task.key,
        status=TaskStatus(body.status),
        value=None if body.value is None else await parts.load(body.value, f"the result of task {task.key}"),
        error=None if body.error is None else body.error.text,
        error_type=None if body.error is None else body.error.type,
        traceback=None if body.error is None else body.error.traceback,
        attempt=task.claims,
        worker=body.worker,
        started_at=to_datetime(body.started_at),
        finished_at=to_datetime(body.finished_at),
    )


def value_of(result: TaskResult) -> Any:
    """What the task's function returned.

    Raises:
        TaskError: The task has ended without a value; the class says how.
    """
    if result.status is TaskStatus.SUCCEEDED:
        return result.value
    if result.status is TaskStatus.FAILED:
        raise TaskFailed(result.task_id, result.error_type or "Exception", result.error or "", result.traceback or "")
    raise _ENDED_WITHOUT_RESULT[result.status](result.task_id)
