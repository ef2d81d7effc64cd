"""Whether and when a task that raised is tried again."""

from __future__ import annotations

from collections.abc import Sequence

from ..models.task import RetryPolicy


def class_names(error: BaseException) -> tuple[str, ...]:
    """Qualified names of an exception's class and its bases, as retry rules name them."""
    return tuple(class_name(cls) for cls in type(error).__mro__ if cls is not object)


def class_name(cls: type) -> str:
    """``module.QualifiedName``; a class from a notebook's cell keeps its name across kernels."""
    return f"{cls.__module__}.{cls.__qualname__}"


def may_retry(policy: RetryPolicy, failures: int, names: Sequence[str]) -> bool:
    """Whether an attempt follows.

    Args:
        policy: The task's.
        failures: Attempts that raised before this one.
        names: `class_names` of what it raised.
    """
    if failures >= policy.max_retries:
        return False
    if any(name in policy.no_retry_on for name in names):
        return False
    return not policy.retry_on or any(name in policy.retry_on for name in names)


def delay_before(policy: RetryPolicy, failures: int, chance: float) -> float:
    """Seconds until the next attempt: exponential back-off with proportional jitter, capped.

    Args:
        policy: The task's.
        failures: Attempts that raised before this one: 0 for the first retry.
        chance: A random number from 0 to 1; 0.5 means no jitter.
    """
    if not policy.delay:
        return 0.0
    try:
        delay = policy.delay * policy.backoff**failures
    except OverflowError:
        delay = policy.max_delay
    delay *= 1 + policy.jitter * (2 * chance - 1)
    return min(delay, policy.max_delay)
