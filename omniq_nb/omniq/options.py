"""What a user may say about a task, checked where he says it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, TypedDict

import msgspec

from .clock import SECOND, from_datetime, micros, seconds
from .config import Config
from .core.retry import class_name
from .errors import OptionError
from .models.task import RetryPolicy

Duration = float | timedelta


class TaskOptions(TypedDict, total=False):
    """Options of a task, given to ``@task``, ``.options`` or ``enqueue``. Durations are seconds or timedelta."""

    queue: str
    priority: int
    max_retries: int
    retry_delay: Duration
    retry_backoff: float
    retry_jitter: float
    retry_max_delay: Duration
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    no_retry_on: type[BaseException] | tuple[type[BaseException], ...]
    timeout: Duration | None
    ttl: Duration | None
    result_ttl: Duration | None
    metadata: dict[str, Any]
    delay: Duration | None
    run_at: datetime | None
    task_id: str | None


class Plan(msgspec.Struct, frozen=True):
    """Options with every default filled in: what enqueueing needs. Durations in seconds but where said."""

    queue: str
    priority: int
    retry: RetryPolicy
    timeout: float | None
    ttl: int | None  # microseconds
    result_ttl: float | None
    metadata: dict[str, Any]
    delay: int  # microseconds
    run_at: int | None  # microseconds since 1970
    task_id: str | None

    def due_at(self, now: int) -> int:
        """When the task becomes due."""
        return self.run_at if self.run_at is not None else now + self.delay

    def expires_at(self, now: int) -> int | None:
        """When its time to live ends, counted from when it becomes due."""
        return None if self.ttl is None else self.due_at(now) + self.ttl


def merge(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A function's own options with those given over them; ``delay`` and ``run_at`` each go before an own other."""
    merged = {**own, **given}
    for name, other in (("delay", "run_at"), ("run_at", "delay")):
        if given.get(name) is not None and other not in given:
            merged.pop(other, None)
    return merged


def make_plan(options: Mapping[str, Any], config: Config, func: str = "") -> Plan:
    """Check options and fill in the configuration's defaults.

    Args:
        options: Of the function, and of the call.
        config: Gives the defaults.
        func: The function's name, by which the configuration may route it to a queue.

    Raises:
        OptionError: One is unknown or has a value that it can't have.
    """
    for name in options:
        if name not in TaskOptions.__annotations__:
            raise OptionError.unknown(name, TaskOptions.__annotations__)
    if options.get("delay") is not None and options.get("run_at") is not None:
        raise OptionError("delay and run_at both say when the task may run: give one of them")
    return Plan(
        queue=_text(options.get("queue", _route(func, config)), "queue"),
        priority=_whole(options.get("priority", 0), "priority", least=-(2**31)),
        retry=_retry_policy(options, config),
        timeout=_positive(options.get("timeout"), "timeout"),
        ttl=_to_micros(_positive(options.get("ttl", config.task_ttl), "ttl")),
        result_ttl=_positive(options.get("result_ttl", config.result_ttl), "result_ttl"),
        metadata=_metadata(options.get("metadata", {})),
        delay=micros(options.get("delay") or 0, "delay"),
        run_at=_moment(options.get("run_at"), "run_at"),
        task_id=None if options.get("task_id") is None else _text(options["task_id"], "task_id"),
    )


def _route(func: str, config: Config) -> str:
    for pattern, queue in config.routes.items():
        if fnmatchcase(func, pattern):
            return queue
    return config.default_queue


def _retry_policy(options: Mapping[str, Any], config: Config) -> RetryPolicy:
    backoff = seconds(options.get("retry_backoff", config.retry_backoff), "retry_backoff")
    if backoff < 1:
        raise OptionError(f"retry_backoff must be at least 1, not {backoff:g}")
    jitter = seconds(options.get("retry_jitter", config.retry_jitter), "retry_jitter")
    if jitter > 1:
        raise OptionError(f"retry_jitter must be a share from 0 to 1, not {jitter:g}")
    return RetryPolicy(
        max_retries=_whole(options.get("max_retries", config.max_retries), "max_retries", least=0),
        delay=seconds(options.get("retry_delay", config.retry_delay), "retry_delay"),
        backoff=backoff,
        jitter=jitter,
        max_delay=seconds(options.get("retry_max_delay", config.retry_max_delay), "retry_max_delay"),
        retry_on=_classes(options.get("retry_on", ()), "retry_on"),
        no_retry_on=_classes(options.get("no_retry_on", ()), "no_retry_on"),
    )


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise OptionError(f"{name} must be a text that is not empty, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise OptionError(f"{name} must be a text that can be written as UTF-8, not {value!r}") from error
    return value


def _whole(value: Any, name: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
        raise OptionError(f"{name} must be a whole number{' of at least 0' if least == 0 else ''}, not {value!r}")
    return value


def _positive(value: Any, name: str) -> float | None:
    if value is None:
        return None
    number = seconds(value, name)
    if number == 0:
        raise OptionError(f"{name} must be longer than 0 seconds; leave it out for none")
    return number


def _to_micros(value: float | None) -> int | None:
    return None if value is None else round(value * SECOND)


def _moment(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise OptionError(f"{name} must be an aware datetime, not {value!r}")
    return from_datetime(value, name)


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise OptionError(f"metadata must be a dict with text keys, not {value!r}")
    try:
        msgspec.msgpack.encode(value)
    except (TypeError, OverflowError, ValueError) as error:
        raise OptionError(f"metadata must hold plain values (text, numbers, lists, dicts) only: {error}") from error
    return value


def _classes(value: Any, name: str) -> tuple[str, ...]:
    classes = value if isinstance(value, tuple | list) else (value,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise OptionError(f"{name} must name exception classes, not {each!r}")
    return tuple(class_name(each) for each in classes)
