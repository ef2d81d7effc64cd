"""Time as OmniQ keeps it: whole microseconds since 1970, UTC, and aware datetimes at the surface."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from .errors import NaiveDatetimeError, OptionError

Clock = Callable[[], int]
"""Gives the present moment in microseconds since 1970, UTC."""

SECOND = 1_000_000
LONGEST_SECONDS = 3_155_760_000.0
"""A hundred years. What is meant as longer is meant as never, and would soon leave the calendar."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def system_clock() -> int:
    """The machine's own clock."""
    return time.time_ns() // 1000


def to_datetime(micros: int) -> datetime:
    """Microseconds since 1970 as an aware datetime in UTC."""
    # Integer arithmetic: datetime.fromtimestamp would round through a float. A moment beyond the calendar shows as its
    # end: one odd record must not make a whole list unreadable.
    return _EPOCH + timedelta(microseconds=min(max(micros, _FIRST), _LAST))


def from_datetime(moment: datetime, field: str) -> int:
    """An aware datetime as microseconds since 1970.

    Raises:
        OptionError: ``moment`` is no datetime; ``field`` is named in the message.
        NaiveDatetimeError: It has no time zone.
    """
    if not isinstance(moment, datetime):
        raise OptionError(f"{field} must be a datetime, not {moment!r}")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise NaiveDatetimeError(field)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def seconds(value: float | timedelta, field: str) -> float:
    """A duration given as seconds or timedelta, in seconds.

    Raises:
        OptionError: It is no number, negative, or longer than a hundred years; ``field`` is named in the message.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{field} must be a number of seconds or a timedelta, not {value!r}")
    if not 0 <= value <= LONGEST_SECONDS:
        raise OptionError(f"{field} must be at least 0 seconds and at most 100 years, not {value}")
    return float(value)


def micros(value: float | timedelta, field: str) -> int:
    """A duration given as seconds or timedelta, in microseconds (see `seconds`)."""
    return round(seconds(value, field) * SECOND)
