"""Whether a long backlog slows workers down."""

from __future__ import annotations

import statistics

from harness.bench import Bench, Entry
from harness.figures import Comparison, Figure, Measured
from harness.trace import rate_of

from .base import Scenario
from .rivals import Rivals

SIZES = {"small": 1000, "large": 100_000, "huge": 1_000_000}
_WINDOW_SECONDS = 3.0
_WARM_UP = 200
_AT_A_TIME = 100
"""A worker's default."""
_SMALL_REPEATS = 3


class Backlog(Scenario):
    def __init__(self, rivals: Rivals) -> None:
        self._sizes = {key: SIZES[key] for key in rivals.backlog}
        least, *_, most = rivals.backlog
        few, many = (f"{SIZES[key]:,}" for key in (least, most))
        self.name = f"backlog{rivals.suffix}"
        self.title = f"{rivals.store}, backlog: drain of the first seconds from so many tasks, one worker process"
        self.contenders = (rivals.ours, *rivals.backlog_peers)
        self.figures = (
            *(Figure(key, f"{tasks:,}: tasks/s") for key, tasks in self._sizes.items()),
            Figure("kept", f"{many} beside {few}", 2),
            Figure("duplicates", "duplicates"),
        )
        self.comparisons = (
            Comparison(
                f"{rivals.store}, drain from {many} beside that from {few}, tasks/s",
                (rivals.ours, most),
                ((rivals.ours, least),),
                "two thirds at least",
            ),
        )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        figures: dict[str, float] = {"duplicates": 0}
        for key, tasks in self._sizes.items():
            # The small one is never scaled down: of fewer tasks than run at a time, a rate tells nothing.
            repeats, size = (_SMALL_REPEATS, tasks) if key == "small" else (1, bench.size(tasks))
            found = [_first_seconds(entry, size) for _ in range(repeats)]
            figures[key] = statistics.median(rate for rate, _ in found)
            figures["duplicates"] += sum(duplicates for _, duplicates in found)
        least, *_, most = self._sizes
        if figures[least]:
            figures["kept"] = figures[most] / figures[least]
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
