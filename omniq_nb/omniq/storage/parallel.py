"""Several calls at once, which are over together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_parallel(
    operation: Callable[[T], Awaitable[R]], items: Iterable[T], *, limit: int | None = None
) -> list[R]:
    """Do something with each of the items; gives what came of it, in their order.

    Unlike after `asyncio.gather`, nothing goes on once one has failed: what is under way is cancelled and waited for.
    So whoever closes a connection next closes it under nobody, and no late request opens another.

    Args:
        operation: Called with one item.
        items: Are begun in this order.
        limit: How many are under way at once; all, unless given.

    Raises:
        BaseException: What the first that failed has raised.
    """
    items = list(items)
    if len(items) < 2:
        return [await operation(item) for item in items]
    places = asyncio.Semaphore(limit or len(items))

    async def do(item: T) -> R:
        async with places:
            return await operation(item)

    tasks = [asyncio.create_task(do(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            if not task.cancelling():  # a second time would break off what ends because of the first
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
