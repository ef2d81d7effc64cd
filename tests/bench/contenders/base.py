"""What a contender has to offer. The runner calls each role in a process of its own: see ``__main__``."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from harness.trace import mark

# Durability, where the server decides.
NOTHING_KEPT = "none: the server keeps nothing"
EACH_COMMIT = "each commit is flushed to the disk"
NOW_AND_THEN = "the server's default: a power cut may take the last two minutes"

_CALLERS = 100


class Store(NamedTuple):
    """Where a contender finds itself: nothing of another step or another contender is there.

    Attributes:
        kind: See `contenders.Listed`.
        directory: For files.
        url: A database of its own in a server; empty for kinds without one.
    """

    kind: str
    directory: Path
    url: str = ""


class Contender(ABC):
    """A contender, on a store.

    Its task is a no-op that calls `mark` with its index and returns ``{"i": index}``, where results are stored.

    Attributes:
        package: The distribution that it needs.
        results: Whether results are stored, in words.
        delivery: What happens to a task whose worker dies, in words.
        durability: When a commit reaches the disk, in words.

    Args:
        name: Its name; one module may be several contenders.
        store: Where its tasks go.
    """

    package: ClassVar[str]
    results: ClassVar[str] = ""
    delivery: ClassVar[str] = ""
    durability: str = ""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.store = store

    def about(self) -> dict[str, Any]:
        """What is said about it in the report, and how much it can take."""
        return {"results": self.results, "delivery": self.delivery, "durability": self.durability}

    async def open(self) -> None:  # noqa: B027 -- most need nothing
        """Be ready to send tasks."""

    async def close(self) -> None:  # noqa: B027 -- as above
        """Let go of the store."""


class Queue(Contender):
    """A durable queue, with workers in processes of their own.

    Attributes:
        awaits: Whether a producer can wait for a result.
        bulk: Whether there is a way to send many at once.
        concurrent: Whether callers on one event loop can send at the same time.
        singles: How many tasks to send one by one; sizes are chosen for a few seconds at most.
        many: How many to send in bulk.
        drained: How many to drain.
        probes: How many latencies to measure.
    """

    awaits: ClassVar[bool] = True
    bulk: ClassVar[bool] = False
    concurrent: ClassVar[bool] = False
    singles: ClassVar[int] = 1500
    many: ClassVar[int] = 20_000
    drained: int = 5000
    probes: ClassVar[int] = 150

    def about(self) -> dict[str, Any]:
        sizes = ("awaits", "bulk", "concurrent", "singles", "many", "drained", "probes")
        return {**super().about(), **{name: getattr(self, name) for name in sizes}}

    @abstractmethod
    async def send(self, index: int) -> object:
        """Send one task, and be sure that it is stored."""

    async def send_many(self, indexes: Sequence[int]) -> None:
        """Send tasks in the quickest way that there is: here by many callers, if there can be many."""
        callers = _CALLERS if self.concurrent else 1
        for begin in range(0, len(indexes), callers):
            await asyncio.gather(*map(self.send, indexes[begin : begin + callers]))

    async def fill(self, tasks: int) -> None:
        """Make a backlog of so many tasks."""
        step = 1000
        for begin in range(0, tasks, step):
            await self.send_many(range(begin, min(begin + step, tasks)))

    async def ask(self, index: int) -> object:
        """Send one task and wait for its result."""
        raise NotImplementedError

    @abstractmethod
    def work(self) -> None:
        """Run tasks until the process is told to stop."""

    async def succeeded(self) -> int | None:
        """How many tasks the store holds as succeeded, where it says."""
        return None


class Pool(Contender):
    """What runs calls within a notebook's kernel, or for it; nothing is stored, unless said otherwise.

    Attributes:
        tasks: How many tasks to send in a go.
        probes: How many latencies to measure.
    """

    tasks: ClassVar[int] = 20_000
    probes: ClassVar[int] = 200

    def about(self) -> dict[str, Any]:
        return {**super().about(), "tasks": self.tasks, "probes": self.probes}

    @abstractmethod
    async def run_all(self, indexes: Sequence[int]) -> None:
        """Send calls, and have all of their results."""

    @abstractmethod
    async def ask(self, index: int) -> object:
        """Send one call, and have its result."""

    async def drain(self, indexes: Sequence[int]) -> None:
        """Store tasks first, then run them; only for queues."""
        raise NotImplementedError


def noop(index: int) -> dict[str, int]:
    """The task of contenders that take any function."""
    mark(index)
    return {"i": index}


def run_quickly(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop where it is installed: workers have it, as ``omniq worker`` has."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)
    return uvloop.run(coroutine)
