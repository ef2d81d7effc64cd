"""Moments, durations and ids: exact, aware, ordered."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omniq import OptionError, ids
from omniq.clock import LONGEST_SECONDS, SECOND, from_datetime, micros, seconds, system_clock, to_datetime
from omniq.errors import NaiveDatetimeError
from omniq.ids import new_id, new_ids

moments = st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=-11))]))


@given(moments)
def test_moment_survives_exactly(moment: datetime) -> None:
    # Compared in UTC: an ambiguous local time equals no moment of another zone (PEP 495).
    assert to_datetime(from_datetime(moment, "at")) == moment.astimezone(UTC)


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_stored_number_shows_as_some_moment(stored: int) -> None:
    moment = to_datetime(stored)
    assert moment.tzinfo is UTC


def test_ambiguous_hour_means_two_moments() -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    second = first.replace(fold=1)
    assert from_datetime(second, "at") - from_datetime(first, "at") == 3600 * SECOND


def test_naive_datetime_is_refused_with_what_to_write() -> None:
    with pytest.raises(NaiveDatetimeError, match=r"^run_at is a naive datetime.*datetime\.now\(\)\.astimezone\(\)"):
        from_datetime(datetime(2026, 1, 1), "run_at")  # noqa: DTZ001 -- the point


def test_system_clock_is_utc_in_microseconds() -> None:
    before = time.time()
    assert before - 1 <= system_clock() / SECOND <= time.time() + 1


@given(st.floats(0, LONGEST_SECONDS))
def test_duration_may_be_a_number(duration: float) -> None:
    assert seconds(duration, "ttl") == duration


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_000)))
def test_duration_may_be_a_timedelta(duration: timedelta) -> None:
    assert micros(duration, "ttl") == pytest.approx(duration / timedelta(microseconds=1), abs=1)


@pytest.mark.parametrize(
    "duration",
    [
        -1,
        -0.001,
        timedelta(-1),
        float("inf"),
        float("nan"),
        1e300,
        10**400,
        LONGEST_SECONDS * 1.01,
        "5",
        None,
        True,
        [1],
    ],
)
def test_impossible_duration_is_refused_by_name(duration: object) -> None:
    with pytest.raises(OptionError, match="^ttl must be"):
        seconds(duration, "ttl")  # type: ignore[arg-type]


def test_ids_are_uuids_of_version_7() -> None:
    for _ in range(100):
        assert re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", new_id())


def test_ids_grow() -> None:
    made = [new_id() for _ in range(50_000)]
    assert made == sorted(set(made))


def test_many_ids_at_once_grow_and_are_nobody_else_s() -> None:
    made = [new_id(), *new_ids(1000), new_id(), *new_ids(3), new_id()]
    assert len(made) == 1006
    assert made == sorted(set(made))


def test_ids_of_several_threads_are_distinct_and_grow_in_each() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == sorted(each) for each in made)
    assert len({new for each in made for new in each}) == 20_000


def test_id_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    # The counter of a busy millisecond runs into the next ones, so an id may be ahead of the clock a little.
    assert before <= int(new_id()[:12], 16) <= time.time_ns() // 1_000_000 + 1


def test_ids_grow_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    last = new_id()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_000_000_000)
    after = [new_id() for _ in range(1000)]
    assert [last, *after] == sorted({last, *after})
