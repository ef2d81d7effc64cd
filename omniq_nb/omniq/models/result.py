"""The result of a task: its value, or what went wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ..display import Displayed
from ..ids import is_unique
from .record import Record
from .task import TaskStatus, life_of

RESULT = "result"
"""Kind of a result's record."""
_ATTEMPTS_KEPT = 100
"""Of a task that was tried thousands of times, the results of so many attempts are looked for when it is deleted."""


class ErrorInfo(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An exception as it travels: as text, since not every exception can be pickled.

    Attributes:
        type: Qualified name of its class; of a built-in one the bare name.
        text: Its message.
        traceback: Formatted, with the causes.
    """

    type: str
    text: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.text}" if self.text else self.type


class ResultBody(msgspec.Struct, array_like=True, gc=False):
    """The body of a result's record. New fields go to the end, with a default.

    Attributes:
        status: ``succeeded`` or ``failed``.
        value: The serialized value, if it succeeded.
        error: The exception, if it failed.
        worker: Who ran it.
        started_at: Microseconds since 1970.
        finished_at: Microseconds since 1970.
    """

    status: str
    value: bytes | None
    error: ErrorInfo | None
    worker: str
    started_at: int
    finished_at: int


class TaskResult(Displayed, msgspec.Struct, frozen=True, kw_only=True):
    """What became of a task's last attempt.

    Attributes:
        task_id: The task.
        status: ``succeeded``, ``failed``, ``cancelled``, ``expired`` or ``skipped``.
        value: What the function returned.
        error: The exception, ``Type: message``.
        traceback: The worker's formatted traceback.
        attempt: Number of the attempt.
        worker: Who ran it.
        started_at: When the attempt began.
        finished_at: When it ended.
    """

    task_id: str
    status: TaskStatus
    value: Any = None
    error: str | None = None
    error_type: str | None = None
    traceback: str | None = None
    attempt: int = 0
    worker: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def duration(self) -> float | None:
        """Seconds that the attempt ran."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


def result_key(task: Record, attempt: int | None = None) -> str:
    """Key of one attempt's result, the last one's unless given: a late worker's can't take the place of another's."""
    return f"{life_of(task.key, task.created_at)}.{task.claims if attempt is None else attempt}"


def result_keys(task: Record) -> list[str]:
    """Keys of the results that go with a task: those of all its attempts."""
    first = max(1, task.claims - _ATTEMPTS_KEPT + 1)
    return [result_key(task, attempt) for attempt in range(first, task.claims + 1)]


def first_result_key(task_id: str) -> str | None:
    """Key of the first attempt's result, where the id alone tells it: of an id of our own."""
    return f"{task_id}.1" if is_unique(task_id) else None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ResultBody).decode


def encode_result(body: ResultBody) -> bytes:
    """The body of a result's record."""
    return _encode(body)


def decode_result(body: bytes) -> ResultBody:
    """What `encode_result` encoded."""
    return _decode(body)
