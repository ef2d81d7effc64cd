"""The circuit breaker: closed, open, half-open, and what is repeated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from omniq.errors import StoreError, StoreUnavailableError
from omniq.storage.breaker import FIRST_PAUSE, LONGEST_PAUSE, TRIES, Breaker


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()

    async def sleep(seconds: float) -> None:
        time.now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return time


@pytest.fixture
def breaker(time: Time) -> Breaker:
    return Breaker("redis://u:***@h", clock=time, chance=lambda: 1.0)


def away(*, sent: bool = False) -> StoreUnavailableError:
    return StoreUnavailableError("redis://u:***@h", "connection refused", sent=sent)


class Store:
    """Fails so many times, then answers."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


async def test_nothing_is_repeated_for_who_is_being_closed(breaker: Breaker) -> None:
    store = Store(away())
    breaker.hurries = True
    with pytest.raises(StoreUnavailableError):
        await breaker.call(store, repeat=True)
    assert store.calls == 1


async def test_what_never_reached_the_store_is_repeated(breaker: Breaker) -> None:
    store = Store(away(), away())
    assert await breaker.call(store, repeat=False) == "answer"
    assert store.calls == 3
    assert not breaker.is_open


async def test_what_may_have_been_carried_out_is_repeated_only_where_that_does_no_harm(breaker: Breaker) -> None:
    store = Store(away(sent=True))
    with pytest.raises(StoreUnavailableError):
        await breaker.call(store, repeat=False)
    assert store.calls == 1


async def test_reads_are_repeated(breaker: Breaker) -> None:
    assert await breaker.call(Store(away(sent=True)), repeat=True) == "answer"


async def test_open_breaker_fails_at_once_and_says_why(breaker: Breaker) -> None:
    with pytest.raises(StoreUnavailableError):
        await breaker.call(Store(*(away() for _ in range(TRIES))), repeat=True)
    assert breaker.is_open
    idle = Store()
    with pytest.raises(StoreUnavailableError, match="connection refused; tried again in") as caught:
        await breaker.call(idle, repeat=True)
    assert idle.calls == 0
    assert not caught.value.sent


async def test_store_that_stays_away_is_tried_once_by_each_later_call(breaker: Breaker, time: Time) -> None:
    """So a caller is not kept for the sum of pauses that have grown long."""
    store = Store(*(away() for _ in range(TRIES + 3)))
    with pytest.raises(StoreUnavailableError):
        await breaker.call(store, repeat=True)
    assert store.calls == TRIES
    for calls in range(TRIES + 1, TRIES + 4):
        time.now += LONGEST_PAUSE
        with pytest.raises(StoreUnavailableError):
            await breaker.call(store, repeat=True)
        assert store.calls == calls
    time.now += LONGEST_PAUSE
    assert await breaker.call(store, repeat=True) == "answer"


async def test_pauses_double_up_to_a_limit_and_one_success_forgets_them(breaker: Breaker, time: Time) -> None:
    pauses = []
    for _ in range(12):
        breaker.failed(away())
        pauses.append(breaker._until - time.now)
    assert pauses[:3] == pytest.approx([FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE])
    assert pauses[-1] == LONGEST_PAUSE
    breaker.succeeded()
    breaker.admit()


async def test_chance_takes_off_up_to_half(time: Time) -> None:
    breaker = Breaker("x", clock=time, chance=lambda: 0.0)
    breaker.failed(away())
    assert breaker._until - time.now == pytest.approx(FIRST_PAUSE / 2)


async def test_half_open_breaker_lets_one_call_try(breaker: Breaker, time: Time) -> None:
    breaker.failed(away())
    time.now += LONGEST_PAUSE
    breaker.admit()
    with pytest.raises(StoreUnavailableError):
        breaker.admit()
    breaker.succeeded()
    breaker.admit()


@pytest.mark.parametrize("error", [StoreError("x", "is full"), asyncio.CancelledError()])
async def test_other_errors_let_the_next_call_try(breaker: Breaker, time: Time, error: Any) -> None:
    breaker.failed(away())
    time.now += LONGEST_PAUSE
    with pytest.raises(type(error)):
        await breaker.call(Store(error), repeat=True)
    assert await breaker.call(Store(), repeat=True) == "answer"


async def test_calls_that_come_during_a_trial_share_its_outcome(breaker: Breaker, time: Time) -> None:
    for error in (away(), StoreError("redis://h", "no such table")):
        breaker.failed(away())
        time.now += LONGEST_PAUSE
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def ask(answer: asyncio.Future[str] = answer) -> str:
            return await answer

        trial = asyncio.ensure_future(breaker.call(ask, repeat=False))
        store = Store()
        others = [asyncio.ensure_future(breaker.call(store, repeat=False)) for _ in range(3)]
        await asyncio.wait(others, timeout=0.01)
        assert store.calls == 0, "one call at a time tries"
        answer.set_exception(error)
        await asyncio.gather(trial, return_exceptions=True)
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        if isinstance(error, StoreUnavailableError):
            assert all(isinstance(each, StoreUnavailableError) for each in outcomes)
        else:
            assert outcomes == ["answer"] * 3


async def test_a_trial_that_is_cut_off_lets_one_of_those_who_wait_try(breaker: Breaker, time: Time) -> None:
    breaker.failed(away())
    time.now += LONGEST_PAUSE
    trial = asyncio.ensure_future(breaker.call(asyncio.Event().wait, repeat=False))
    other = asyncio.ensure_future(breaker.call(Store(), repeat=False))
    await asyncio.wait([other], timeout=0.01)
    trial.cancel()
    assert await other == "answer"
