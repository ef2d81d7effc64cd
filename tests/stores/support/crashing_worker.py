"""A worker that dies at a chosen point between the writes of its first settlement: crashing_worker.py POINT.

POINT is how many of the settlement's writes get there: its result, then the task, then the events.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from omniq import AsyncOmniQ
from omniq.models.record import Append, Op, Replace
from omniq.models.result import RESULT
from omniq.models.task import TASK
from omniq.storage.driver import Driver

DIED = 9


def settles(op: Op) -> bool:
    """Whether the operation is part of a settlement."""
    if isinstance(op, Append):
        return any(event.event_type == "task.succeeded" for event in op.events)
    return op.record.kind == RESULT or (isinstance(op, Replace) and op.record.kind == TASK)  # type: ignore[union-attr]


class Doom:
    """Counts the writes of settlements, and ends the process."""

    def __init__(self, point: int) -> None:
        self.left = point

    def hang_over(self, driver: Driver) -> None:
        write = driver.write

        async def doomed(ops: Sequence[Op]) -> list[bool]:
            if not any(settles(op) for op in ops):
                return await write(ops)
            if not self.left:
                os._exit(DIED)
            outcomes = await write(ops)
            self.left -= 1
            if not self.left:
                os._exit(DIED)
            return outcomes

        driver.write = doomed  # type: ignore[method-assign]


async def main(point: int) -> None:
    async with AsyncOmniQ() as app:
        doom = Doom(point)
        for driver in (await app._ready()).drivers:
            doom.hang_over(driver)
        async with app.workers(concurrency=1):
            await asyncio.sleep(60)


asyncio.run(main(int(sys.argv[1])))
