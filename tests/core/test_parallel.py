"""Calls that are over together."""

from __future__ import annotations

import asyncio

import pytest
from omniq.storage.parallel import in_parallel


async def test_outcomes_are_in_order_and_few_are_under_way() -> None:
    under_way = most = 0

    async def double(n: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001 * (7 - n % 7))
        under_way -= 1
        return 2 * n

    assert await in_parallel(double, range(40), limit=3) == [2 * n for n in range(40)]
    assert most == 3
    assert await in_parallel(double, range(40)) == [2 * n for n in range(40)]
    assert most == 40
    assert await in_parallel(double, [], limit=3) == []
    assert await in_parallel(double, [4]) == [8]


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_nothing_goes_on_when_it_is_over(is_cancelled: bool) -> None:
    begun, cleaned_up = set[int](), set[int]()

    async def work(n: int) -> None:
        begun.add(n)
        try:
            await asyncio.sleep(0.01 if n == 2 and not is_cancelled else 60)
            raise ValueError(n)
        finally:
            for _ in range(n):
                await asyncio.sleep(0)  # cleaning up may take several turns of the loop
            cleaned_up.add(n)

    task = asyncio.create_task(in_parallel(work, range(9), limit=5))
    if is_cancelled:
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError if is_cancelled else ValueError):
        await task
    assert begun == cleaned_up
    assert len(begun) <= 6, "the place of the one that failed may have been taken before that was noticed"
