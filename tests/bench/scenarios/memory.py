"""Whether a worker's memory stays flat while it runs many tasks."""

from __future__ import annotations

import time

from harness.bench import Bench
from harness.figures import Comparison, Figure, Measured
from harness.processes import resident_mb

from .base import Scenario

_STEP = 20_000
_WARM_UP_STEPS = 3
_STEPS = 10
_SETTLE_SECONDS = 0.5


class Memory(Scenario):
    name = "memory"
    title = "Memory of one worker process over 200,000 tasks, after 60,000 for warm-up, 20,000 at a time"
    contenders = ("omniq",)
    most_rounds = 1
    figures = (
        Figure("before", "after warm-up, MB", 1),
        Figure("after", "at the end, MB", 1),
        Figure("growth", "growth, MB", 1),
        Figure("most", "most above the least, MB", 1),
        Figure("lost", "lost"),
        Figure("duplicates", "duplicates"),
    )
    comparisons = (
        Comparison("A worker's memory over 200,000 tasks, growth in MB", ("omniq", "growth"), goal="±5", digits=1),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        step = bench.size(_STEP)
        tasks = (_WARM_UP_STEPS + _STEPS) * step
        entry.new_store()
        trace = entry.trace(tasks)
        resident: list[float] = []
        with entry.workers() as workers:
            for first in range(0, tasks, step):
                entry.step("send_many", tasks=step, first=first)
                trace.wait(first + step)
                time.sleep(_SETTLE_SECONDS)
                resident.append(resident_mb(workers))
        counted = resident[_WARM_UP_STEPS - 1 :]
        return {
            "before": counted[0],
            "after": counted[-1],
            "growth": counted[-1] - counted[0],
            "most": max(counted) - min(counted),
            "lost": tasks - trace.started,
            "duplicates": trace.duplicates,
        }
