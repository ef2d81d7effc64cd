"""Whether and when an attempt follows: the policy alone decides."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omniq import OptionError, Retry
from omniq.core.retry import class_name, class_names, delay_before, may_retry
from omniq.models.task import RetryPolicy

policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 100),
    delay=st.floats(0, 1e6),
    backoff=st.floats(1, 100),
    jitter=st.floats(0, 1),
    max_delay=st.floats(0, 1e9),
)


class OurError(ValueError):
    pass


def test_delays_double() -> None:
    policy = RetryPolicy(delay=1.5, backoff=2, jitter=0)
    assert [delay_before(policy, n, 0.5) for n in range(4)] == [1.5, 3, 6, 12]


def test_no_delay_is_longer_than_the_cap() -> None:
    policy = RetryPolicy(delay=1, backoff=10, jitter=1, max_delay=50)
    assert [delay_before(policy, n, 1) for n in (0, 1, 2, 5)] == [2, 20, 50, 50]


@given(policies, st.integers(0, 2**31), st.floats(0, 1))
def test_delay_is_a_number_from_zero_to_the_cap(policy: RetryPolicy, failures: int, chance: float) -> None:
    assert 0 <= delay_before(policy, failures, chance) <= policy.max_delay


@given(policies, st.integers(0, 20))
def test_jitter_takes_off_or_adds_its_share_at_most(policy: RetryPolicy, failures: int) -> None:
    least, middle, most = (delay_before(policy, failures, chance) for chance in (0, 0.5, 1))
    assert least <= middle <= most
    if most < policy.max_delay:
        assert least == pytest.approx(middle * (1 - policy.jitter))
        assert most == pytest.approx(middle * (1 + policy.jitter))


def test_chance_of_one_half_means_no_jitter() -> None:
    assert delay_before(RetryPolicy(delay=7, jitter=0.9), 0, 0.5) == 7


def test_no_delay_stays_no_delay_however_often_it_failed() -> None:
    assert delay_before(RetryPolicy(delay=0), 5000, 1) == 0


@given(st.integers(0, 50), st.integers(0, 60))
def test_so_many_retries_and_no_more(max_retries: int, failures: int) -> None:
    assert may_retry(RetryPolicy(max_retries=max_retries), failures, ()) == (failures < max_retries)


def test_only_the_named_classes_are_retried() -> None:
    policy = RetryPolicy(retry_on=("builtins.OSError",))
    assert may_retry(policy, 0, class_names(ConnectionError()))
    assert not may_retry(policy, 0, class_names(ValueError()))


def test_excluded_class_goes_before_the_named_one() -> None:
    policy = RetryPolicy(retry_on=("builtins.OSError",), no_retry_on=("builtins.FileNotFoundError",))
    assert may_retry(policy, 0, class_names(ConnectionError()))
    assert not may_retry(policy, 0, class_names(FileNotFoundError()))


def test_class_is_named_with_its_module_and_matches_by_its_bases() -> None:
    assert class_name(OurError) == f"{__name__}.OurError"
    assert class_names(OurError()) == (
        f"{__name__}.OurError",
        "builtins.ValueError",
        "builtins.Exception",
        "builtins.BaseException",
    )


def test_retry_carries_delay_and_reason() -> None:
    assert Retry(5).delay == 5
    assert Retry(delay=timedelta(minutes=1)).delay == 60
    assert Retry().delay is None
    assert str(Retry(reason="rate limited")) == "rate limited"


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan"), 1e300, 10**400, "soon", True, timedelta(-1)])
def test_retry_with_an_impossible_delay_is_refused_where_it_is_raised(delay: object) -> None:
    with pytest.raises(OptionError, match="delay must be"):
        Retry(delay)  # type: ignore[arg-type]
