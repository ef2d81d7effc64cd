"""What a user may say about a task, checked where he says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from omniq import Config, OptionError
from omniq.clock import SECOND
from omniq.errors import NaiveDatetimeError
from omniq.options import TaskOptions, make_plan, merge

NOW = 1_767_225_600 * SECOND
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def test_defaults_come_from_the_configuration() -> None:
    config = Config(
        default_queue="io", max_retries=9, retry_delay=2, retry_backoff=5, retry_jitter=0.5, retry_max_delay=60,
        task_ttl=7, result_ttl=8,
    )  # fmt: skip
    plan = make_plan({}, config)
    assert (plan.queue, plan.priority, plan.ttl, plan.result_ttl, plan.timeout) == ("io", 0, 7 * SECOND, 8, None)
    policy = plan.retry
    assert (policy.max_retries, policy.delay, policy.backoff, policy.jitter, policy.max_delay) == (9, 2, 5, 0.5, 60)


def test_options_go_before_the_configuration() -> None:
    options = {
        "queue": "high", "priority": -3, "max_retries": 0, "retry_delay": timedelta(seconds=4), "retry_backoff": 1,
        "retry_jitter": 0, "retry_max_delay": 9, "timeout": 1.5, "ttl": timedelta(minutes=1), "result_ttl": 2,
        "metadata": {"a": [1]}, "delay": 30, "task_id": "mine", "retry_on": OSError,
        "no_retry_on": (KeyError, ValueError),
    }  # fmt: skip
    plan = make_plan(options, Config(max_retries=9, task_ttl=7))
    assert (plan.queue, plan.priority, plan.timeout, plan.ttl, plan.result_ttl) == ("high", -3, 1.5, 60 * SECOND, 2)
    assert (plan.metadata, plan.delay, plan.task_id) == ({"a": [1]}, 30 * SECOND, "mine")
    policy = plan.retry
    assert (policy.max_retries, policy.delay, policy.backoff, policy.jitter, policy.max_delay) == (0, 4, 1, 0, 9)
    assert (policy.retry_on, policy.no_retry_on) == (
        ("builtins.OSError",),
        ("builtins.KeyError", "builtins.ValueError"),
    )


def test_none_takes_a_configured_limit_away() -> None:
    plan = make_plan({"ttl": None, "result_ttl": None}, Config(task_ttl=7, result_ttl=8))
    assert (plan.ttl, plan.result_ttl) == (None, None)


def test_task_is_due_now_or_after_the_delay_or_at_its_moment() -> None:
    assert make_plan({}, Config()).due_at(NOW) == NOW
    assert make_plan({"delay": 2}, Config()).due_at(NOW) == NOW + 2 * SECOND
    assert make_plan({"run_at": MOMENT + timedelta(hours=1)}, Config()).due_at(NOW) == NOW + 3600 * SECOND


def test_time_to_live_begins_when_the_task_becomes_due() -> None:
    assert make_plan({"ttl": 10}, Config()).expires_at(NOW) == NOW + 10 * SECOND
    assert make_plan({"ttl": 10, "delay": 60}, Config()).expires_at(NOW) == NOW + 70 * SECOND
    assert make_plan({}, Config()).expires_at(NOW) is None


def test_unknown_option_is_refused_by_name_and_the_options_are_named() -> None:
    with pytest.raises(OptionError, match=r"unknown option 'prioritty': the options are .*priority.*timeout"):
        make_plan({"prioritty": 1}, Config())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue", ""),
        ("queue", 5),
        ("queue", None),
        ("priority", 1.5),
        ("priority", "high"),
        ("priority", True),
        ("priority", 2**31),
        ("priority", -(2**40)),
        ("max_retries", -1),
        ("max_retries", 0.5),
        ("max_retries", None),
        ("retry_delay", -1),
        ("retry_backoff", 0.5),
        ("retry_jitter", 2),
        ("retry_max_delay", float("inf")),
        ("retry_on", ValueError()),
        ("retry_on", int),
        ("retry_on", "ValueError"),
        ("no_retry_on", [ValueError, "KeyError"]),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", "1m"),
        ("timeout", float("nan")),
        ("ttl", 0),
        ("ttl", timedelta(-1)),
        ("ttl", 1e300),
        ("result_ttl", 0),
        ("metadata", None),
        ("metadata", [1]),
        ("metadata", {1: 2}),
        ("metadata", {"a": object()}),
        ("metadata", {"a": 2**100}),
        ("metadata", {"a": "\ud800"}),
        ("delay", -0.1),
        ("delay", timedelta(seconds=-1)),
        ("delay", 1e12),
        ("delay", "soon"),
        ("run_at", 1_767_225_600),
        ("run_at", "2026-01-01"),
        ("task_id", ""),
        ("task_id", 7),
    ],
)
def test_impossible_value_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"^{option} must ") as refusal:
        make_plan({option: value}, Config())
    assert "\n" not in str(refusal.value)


def test_every_option_is_tried_with_a_bad_value() -> None:
    (mark,) = test_impossible_value_is_refused_by_name.pytestmark  # type: ignore[attr-defined]
    assert {option for option, _ in mark.args[1]} == set(TaskOptions.__annotations__)


def test_naive_moment_is_refused_with_what_to_write() -> None:
    with pytest.raises(NaiveDatetimeError, match=r"^run_at is a naive datetime"):
        make_plan({"run_at": datetime(2026, 1, 1)}, Config())  # noqa: DTZ001 -- the point


def test_delay_and_moment_together_are_refused() -> None:
    with pytest.raises(OptionError, match="delay and run_at both"):
        make_plan({"delay": 5, "run_at": MOMENT}, Config())
    with pytest.raises(OptionError, match="delay and run_at both"):
        make_plan(merge({}, {"delay": 5, "run_at": MOMENT}), Config())


def test_given_delay_takes_the_place_of_an_own_moment_and_the_other_way_round() -> None:
    assert merge({"run_at": MOMENT}, {"delay": 5}) == {"delay": 5}
    assert merge({"delay": 5}, {"run_at": MOMENT}) == {"run_at": MOMENT}
    assert merge({"delay": 5}, {"queue": "io"}) == {"delay": 5, "queue": "io"}
    assert make_plan(merge({"delay": 5}, {"delay": None}), Config()).delay == 0
