"""What the processes of a benchmark do: send tasks, wait for them, ask about them. They measure themselves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from harness.trace import PATH_VARIABLE, Trace

from .base import Contender, Pool, Queue

_C = TypeVar("_C", bound=Contender)

CALLERS = 100
WARM_UP = 20
GAP_SECONDS = 0.004
"""Between two probes: the worker has gone back to waiting."""
_PROBES_AT_MOST_SECONDS = 10.0
_LOOK_SECONDS = 0.0005
_STEP = 1000

Answer = dict[str, Any]


@asynccontextmanager
async def _opened(contender: _C) -> Any:
    await contender.open()
    try:
        yield contender
    finally:
        await contender.close()


def _trace() -> Trace:
    return Trace(Path(os.environ[PATH_VARIABLE]))


# --- sending ---


async def send_each(queue: Queue, *, tasks: int) -> Answer:
    """One caller, who waits until each task is stored before he sends the next."""
    async with _opened(queue):
        for index in range(WARM_UP):
            await queue.send(index)
        began = time.monotonic()
        for index in range(tasks):
            await queue.send(index)
        return {"rate": tasks / (time.monotonic() - began)}


async def send_concurrently(queue: Queue, *, tasks: int) -> Answer:
    """Many callers at once, each of whom waits until his task is stored before he sends the next."""

    async def call(indexes: Sequence[int]) -> None:
        for index in indexes:
            await queue.send(index)

    async with _opened(queue):
        await asyncio.gather(*(call([index]) for index in range(WARM_UP)))
        began = time.monotonic()
        await asyncio.gather(*(call(range(first, tasks, CALLERS)) for first in range(CALLERS)))
        return {"rate": tasks / (time.monotonic() - began)}


async def send_many(queue: Queue, *, tasks: int, first: int = 0, warm_up: bool = False) -> Answer:
    """The library's way to send many, a thousand at a time."""
    async with _opened(queue):
        if warm_up:
            await queue.send_many(range(WARM_UP))
        began = time.monotonic()
        for begin in range(first, first + tasks, _STEP):
            await queue.send_many(range(begin, min(begin + _STEP, first + tasks)))
        return {"rate": tasks / (time.monotonic() - began)}


async def fill(queue: Queue, *, tasks: int) -> Answer:
    """A backlog, by whatever way is quick."""
    async with _opened(queue):
        await queue.fill(tasks)
    return {}


async def succeeded(queue: Queue) -> int | None:
    """How many tasks the store holds as succeeded, where it says."""
    async with _opened(queue):
        return await queue.succeeded()


# --- latency ---


async def probe(queue: Queue, *, probes: int) -> Answer:
    """One task at a time to a worker that waits in another process, in ms until it starts and until its result is here.

    The first ones are warm-up; with the very first the worker is found to be there.
    """
    trace = _trace()
    async with _opened(queue):
        ask = queue.ask if type(queue).awaits else _Starts(queue, trace).ask
        return await _probe(ask, trace, range(WARM_UP + probes), results=type(queue).awaits)


class _Starts:
    """Sends tasks and waits until they start, where there are no results to wait for."""

    def __init__(self, queue: Queue, trace: Trace) -> None:
        self._queue = queue
        self._trace = trace

    async def ask(self, index: int) -> None:
        await self._queue.send(index)
        while self._trace.start_of(index) is None:
            await asyncio.sleep(_LOOK_SECONDS)


async def _probe(
    ask: Callable[[int], Coroutine[Any, Any, object]], trace: Trace, indexes: Sequence[int], *, results: bool = True
) -> Answer:
    until_start: list[float] = []
    until_result: list[float] = []
    began = time.monotonic()
    for index in indexes:
        await asyncio.sleep(GAP_SECONDS)
        sent = time.monotonic()
        await ask(index)
        answered = time.monotonic()
        until_start.append(((trace.start_of(index) or answered) - sent) * 1000)
        until_result.append((answered - sent) * 1000)
        if answered - began > _PROBES_AT_MOST_SECONDS and len(until_start) > 2 * WARM_UP:
            break
    return {"start": until_start[WARM_UP:], "result": until_result[WARM_UP:] if results else []}


# --- within one process ---


async def within(pool: Pool, *, tasks: int, probes: int, drains: bool) -> Answer:
    """What happens in one process: tasks sent and awaited together, one at a time, and drained from a store.

    Their indexes follow each other: warm-up, sent together, drained, probes.
    """
    trace = _trace()
    began = time.monotonic()
    async with _opened(pool):
        first = time.monotonic()
        await pool.run_all(range(WARM_UP))
        answer: Answer = {"open": first - began, "round_trip": await _round_trip(pool, WARM_UP, tasks)}
        begin = WARM_UP + tasks
        if drains:
            await pool.drain(range(begin, begin + tasks))
            answer["drain"] = [trace.start_of(index) for index in range(begin, begin + tasks)]
            begin += tasks
        return answer | await _probe(pool.ask, trace, range(begin, begin + WARM_UP + probes))


async def _round_trip(pool: Pool, first: int, tasks: int) -> float:
    began = time.monotonic()
    await pool.run_all(range(first, first + tasks))
    return tasks / (time.monotonic() - began)


ROLES: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "send_each": send_each,
    "send_concurrently": send_concurrently,
    "send_many": send_many,
    "fill": fill,
    "succeeded": succeeded,
    "probe": probe,
    "within": within,
}
