"""Group commit: what goes out together, and what one bad request does to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from omniq.errors import StoreUnavailableError
from omniq.storage.group_commit import GroupCommit


class Store:
    """Doubles numbers; notes the groups. It refuses negative ones, and is away for 1000."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def carry_out(self, group: list[int]) -> list[int]:
        return await self.begin(group)()

    def begin(self, group: list[int]) -> Callable[[], Awaitable[list[int]]]:
        self.groups.append(group)
        return lambda: self._answer(group)

    async def _answer(self, group: list[int]) -> list[int]:
        await self.goes_on.wait()
        if 1000 in group:
            raise StoreUnavailableError("a store")
        if min(group) < 0:
            raise ValueError("negative")
        return [2 * n for n in group]


@pytest.fixture
async def store() -> Store:
    return Store()


@pytest.fixture
async def commits(store: Store) -> GroupCommit[int, int]:
    return GroupCommit(store.carry_out, share=lambda n: abs(n) / 100, name="test")


@pytest.fixture
async def prompt(store: Store) -> GroupCommit[int, int]:
    """Of a store to which a request can be sent without waiting."""
    return GroupCommit(store.carry_out, share=lambda n: abs(n) / 100, name="test", begin=store.begin)


async def test_what_is_asked_for_in_one_turn_goes_out_together(store: Store, commits: GroupCommit[int, int]) -> None:
    assert await asyncio.gather(*(commits.submit(n) for n in (1, 2, 3))) == [2, 4, 6]
    assert store.groups == [[1, 2, 3]]


async def test_what_is_asked_for_meanwhile_makes_up_the_next_group(
    store: Store, commits: GroupCommit[int, int]
) -> None:
    store.goes_on.clear()
    first = commits.submit(1)
    await asyncio.sleep(0)
    others = [commits.submit(n) for n in (2, 3)]
    await asyncio.sleep(0)
    assert store.groups == [[1]]
    store.goes_on.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6]
    assert store.groups == [[1], [2, 3]]


async def test_groups_are_bounded_and_in_order(store: Store, commits: GroupCommit[int, int]) -> None:
    await asyncio.gather(*(commits.submit(n) for n in (60, 40, 1, 500, 2)))
    assert store.groups == [[60, 40], [1], [500], [2]]


async def test_a_bad_request_fails_alone(store: Store, commits: GroupCommit[int, int]) -> None:
    outcomes = await asyncio.gather(*(commits.submit(n) for n in (1, -2, 3)), return_exceptions=True)
    assert outcomes[::2] == [2, 6]
    assert isinstance(outcomes[1], ValueError)
    assert store.groups == [[1, -2, 3], [1], [-2], [3]]


async def test_a_store_that_is_away_fails_the_group(store: Store) -> None:
    commits = GroupCommit(store.carry_out, share=lambda _: 0.0, name="test")
    outcomes = await asyncio.gather(*(commits.submit(n) for n in (1, 1000)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreUnavailableError] * 2
    assert store.groups == [[1, 1000]]


async def test_a_request_goes_out_though_its_caller_is_gone(store: Store, commits: GroupCommit[int, int]) -> None:
    store.goes_on.clear()
    gone = commits.submit(1)
    other = commits.submit(2)
    await asyncio.sleep(0)
    gone.cancel()
    store.goes_on.set()
    assert await other == 4
    assert store.groups == [[1, 2]]


async def test_nobody_waits_for_ever_when_the_loop_ends(store: Store, commits: GroupCommit[int, int]) -> None:
    store.goes_on.clear()
    under_way = commits.submit(1)
    await asyncio.sleep(0)
    waiting = commits.submit(2)
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "test"]
    task.cancel()
    outcomes = await asyncio.gather(under_way, waiting, return_exceptions=True)
    assert [type(each) for each in outcomes] == [asyncio.CancelledError] * 2


async def test_nobody_waits_for_ever_when_the_loop_ends_while_a_group_is_taken_apart(store: Store) -> None:
    async def carry_out(group: list[int]) -> list[int]:
        if len(group) == 1:
            store.goes_on.clear()
        return await store.carry_out(group)

    commits = GroupCommit(carry_out, share=lambda _: 0.0, name="test")
    futures = [commits.submit(n) for n in (1, -2, 3)]
    while not store.groups[1:]:
        await asyncio.sleep(0)
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "test"]
    task.cancel()
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(each) for each in outcomes] == [asyncio.CancelledError] * 3


async def test_who_comes_alone_is_served_at_once(store: Store, prompt: GroupCommit[int, int]) -> None:
    asked = prompt.submit(1)
    assert store.groups == [[1]]
    assert await asked == 2
    with pytest.raises(ValueError, match="negative"):
        await prompt.submit(-1)
    asked = prompt.submit(3)
    assert store.groups == [[1], [-1], [3]], "of one that is refused, nothing is tried again"
    assert await asked == 6


async def test_who_does_not_hurry_waits_for_the_next_turn(store: Store) -> None:
    commits = GroupCommit(store.carry_out, share=lambda _: 0.0, name="test", begin=store.begin, hurries=lambda n: n > 5)
    asked = [commits.submit(1)]
    assert store.groups == []
    asked.append(commits.submit(6))
    await asyncio.gather(*asked)
    assert store.groups == [[1, 6]]
    await commits.submit(2)
    asked = [commits.submit(7)]
    assert store.groups == [[1, 6], [2], [7]]
    assert await asyncio.gather(*asked) == [14]


async def test_who_comes_meanwhile_waits_until_the_first_is_served(store: Store, prompt: GroupCommit[int, int]) -> None:
    store.goes_on.clear()
    asked = [prompt.submit(n) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    asked.append(prompt.submit(4))
    await asyncio.sleep(0)
    assert store.groups == [[1]]
    store.goes_on.set()
    assert await asyncio.gather(*asked) == [2, 4, 6, 8]
    assert store.groups == [[1], [2, 3, 4]]


async def test_those_who_come_together_go_together_until_one_comes_alone(
    store: Store, prompt: GroupCommit[int, int]
) -> None:
    for expected in ([[1], [2, 3]], [[1, 2, 3]], [[1, 2, 3]]):
        store.groups.clear()
        assert await asyncio.gather(*(prompt.submit(n) for n in (1, 2, 3))) == [2, 4, 6]
        assert store.groups == expected
    assert await prompt.submit(4) == 8
    prompt.submit(5)
    assert store.groups == [[1, 2, 3], [4], [5]]
    await prompt.finish()


async def test_who_was_sent_at_once_is_served_though_its_caller_is_gone(
    store: Store, prompt: GroupCommit[int, int]
) -> None:
    store.goes_on.clear()
    gone, also_gone, other = (prompt.submit(n) for n in (1, 2, 3))
    await asyncio.sleep(0)
    gone.cancel()
    also_gone.cancel()
    store.goes_on.set()
    assert await other == 6
    assert store.groups == [[1], [2, 3]]


async def test_nobody_waits_for_ever_when_the_loop_ends_while_one_is_served_at_once(
    store: Store, prompt: GroupCommit[int, int]
) -> None:
    store.goes_on.clear()
    asked = [prompt.submit(n) for n in (1, 2)]
    await asyncio.sleep(0)
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "test"]
    task.cancel()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in outcomes] == [asyncio.CancelledError] * 2


async def test_finish_waits_for_all(store: Store, commits: GroupCommit[int, int]) -> None:
    futures = [commits.submit(n) for n in (90, 90, 90)]
    await commits.finish()
    assert all(future.done() for future in futures)
    assert len(store.groups) == 3


def test_loop_that_ended_before_a_group_went_out_does_not_hold_up_the_next_loop() -> None:
    groups: list[list[int]] = []

    async def carry_out(group: list[int]) -> list[int]:
        groups.append(group)
        return group

    commits = GroupCommit(carry_out, share=lambda n: n / 100, name="test")

    async def ask_and_leave() -> None:
        # In the loop's last turn: the first step of what is asked for would come in the next one.
        asyncio.get_running_loop().call_soon(commits.submit, 1)

    async def ask_again() -> int:
        async with asyncio.timeout(60):
            await commits.finish()
            answer: int = await commits.submit(2)
            await commits.finish()
            return answer

    asyncio.run(ask_and_leave())
    assert asyncio.run(ask_again()) == 2
    assert groups == [[2]]
