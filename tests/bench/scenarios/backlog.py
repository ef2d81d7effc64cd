"""Whether a long backlog slows workers down."""

from __future__ import annotations

import statistics

from harness.bench import Bench, Entry
from harness.figures import Comparison, Figure, Measured
from harness.trace import rate_of

from .base import Scenario

SIZES = {"small": 1000, "large": 100_000, "huge": 1_000_000}
_WINDOW_SECONDS = 3.0
_WARM_UP = 200
_AT_A_TIME = 100
"""A worker's default."""
_SMALL_REPEATS = 3


class Backlog(Scenario):
    name = "backlog"
    title = "Drain of the first seconds from a backlog of 1,000, 100,000 and 1,000,000 tasks, one worker process"
    contenders = ("omniq", "litequeue")
    figures = (
        Figure("small", "1,000: tasks/s"),
        Figure("large", "100,000: tasks/s"),
        Figure("huge", "1,000,000: tasks/s"),
        Figure("kept", "1,000,000 beside 1,000", 2),
        Figure("duplicates", "duplicates"),
    )
    comparisons = (
        Comparison(
            "Drain from 1,000,000 beside that from 1,000, tasks/s",
            ("omniq", "huge"),
            (("omniq", "small"),),
            "two thirds at least",
        ),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        figures: dict[str, float] = {"duplicates": 0}
        for key, tasks in SIZES.items():
            repeats = _SMALL_REPEATS if key == "small" else 1
            found = [_first_seconds(entry, bench.size(tasks)) for _ in range(repeats)]
            figures[key] = statistics.median(rate for rate, _ in found)
            figures["duplicates"] += sum(duplicates for _, duplicates in found)
        if figures["small"]:
            figures["kept"] = figures["huge"] / figures["small"]
        return figures


def _first_seconds(entry: Entry, tasks: int) -> tuple[float, int]:
    entry.filled_store(tasks)
    trace = entry.trace(tasks)
    with entry.workers():
        if trace.wait(1):
            trace.wait(tasks, patience=_WINDOW_SECONDS, limit=_WINDOW_SECONDS + 1)
        starts = trace.starts()
    if len(starts) == tasks:
        # The last ones started together: what it took to run them is not in their starts.
        starts = starts[: -min(_AT_A_TIME - 1, tasks // 4)]
    rate = rate_of(starts, skip=min(_WARM_UP, len(starts) // 5), window=_WINDOW_SECONDS)
    return rate, trace.duplicates
