"""Feeds a dashboard that nobody looks at: ``python -m contenders.omniq_dashboard STORE CHANGES IDLE_SECONDS``.

The publisher is the notebook's own; in the widget's place a sink takes what would go to the page.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

import omniq
from harness import answer
from harness.trace import mark
from omniq import AsyncOmniQ

_PATIENCE_SECONDS = 60.0
_GAPS = (0.6, 0.75, 0.9)
"""Between two changes, so that they meet the publisher at different moments."""


class Sink:
    """Takes what the page would get.

    Attributes:
        total: How many tasks there are, by the last message that said so.
        listed: Whether a page of tasks came.
    """

    is_closed = False

    def __init__(self) -> None:
        self.total = 0
        self.listed = False
        self._told = threading.Condition()

    def tell(self, message: dict[str, Any]) -> None:
        with self._told:
            patch = message.get("patch", {})
            self.listed = self.listed or "tasks" in patch
            if "totals" in patch:
                self.total = sum(patch["totals"].values())
            self._told.notify_all()

    def keep(self, state: dict[str, Any]) -> None:
        """What a reload would find; nobody reloads."""

    def wait(self, total: int) -> float:
        """The moment at which the page shows so many tasks, and a list of them."""
        with self._told:
            if not self._told.wait_for(lambda: self.listed and self.total >= total, _PATIENCE_SECONDS):
                raise TimeoutError(f"the page was not told of {total} tasks in {_PATIENCE_SECONDS:g} s")
            return time.monotonic()


@omniq.task
async def noop(index: int) -> None:
    mark(index)


async def measure(store: str, changes: int, idle_seconds: float) -> dict[str, Any]:
    """All figures, in ms and per cent."""
    began = time.monotonic()
    from omniq.notebook.board import Board
    from omniq.notebook.publisher import Publisher

    loaded = time.monotonic()
    async with AsyncOmniQ(f"sqlite:///{store}") as app:
        omniq.set_current(app)
        sink = Sink()
        publisher = Publisher(app)
        opening = time.monotonic()
        publisher.add(Board("dashboard", sink))
        opened = await asyncio.to_thread(sink.wait, 1)
        refresh = [await _change(sink, _GAPS[index % len(_GAPS)]) for index in range(changes)]
        idle = await _idle_share(idle_seconds)
        await asyncio.to_thread(publisher.close)
    return {
        "import": (loaded - began) * 1000,
        "open": (opened - opening) * 1000,
        "refresh": refresh,
        "idle": idle,
        "total": sink.total - changes,
    }


async def _change(sink: Sink, gap: float) -> float:
    await asyncio.sleep(gap)
    waiting = asyncio.create_task(asyncio.to_thread(sink.wait, sink.total + 1))
    await noop.enqueue(0)
    stored = time.monotonic()
    return (await waiting - stored) * 1000


async def _idle_share(seconds: float) -> float:
    await asyncio.sleep(min(2.0, seconds))
    used, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (time.process_time() - used) / (time.monotonic() - began)


if __name__ == "__main__":
    answer.give(asyncio.run(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
