"""How long a task takes that is sent to a worker that waits in another process, and what the waiting costs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil
from harness.bench import Bench
from harness.figures import Comparison, Figure, Measured, percentile
from harness.processes import cpu_seconds

from .base import Scenario
from .rivals import Rivals

_IDLE_SECONDS = 10.0
_QUIET_SECONDS = 1.0
_WARM_UP = 20


class Latency(Scenario):
    figures = (
        Figure("start", "to start, ms", 2),
        Figure("start_95", "95 %, ms", 2),
        Figure("result", "to the awaited result, ms", 2),
        Figure("result_95", "95 %, ms", 2),
        Figure("idle", "idle worker, % of a core", 2),
        Figure("lost", "lost"),
        Figure("duplicates", "duplicates"),
    )

    def __init__(self, rivals: Rivals) -> None:
        self.name = f"latency{rivals.suffix}"
        self.title = f"{rivals.store}, latency with an idle worker in another process"
        self.contenders = rivals.all
        self.comparisons = tuple(
            Comparison(
                f"{rivals.store}, {what}",
                (rivals.ours, key),
                others,
                rivals.goal(key),
                less_is_better=True,
                digits=2,
            )
            for what, key, others in (
                ("another process: enqueue to start, ms", "start", rivals.theirs("start")),
                ("another process: enqueue to result, ms", "result", rivals.theirs_with_results("result")),
                ("idle worker, % of a core", "idle", rivals.theirs("idle")),
            )
        )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        probes = bench.size(entry.about["probes"])
        entry.new_store()
        trace = entry.trace(_WARM_UP + probes)
        with entry.workers() as workers:
            answer = entry.step("probe", probes=probes)
            # Taken at once: an index that has no start now is a task that was lost, or not reached in time.
            sent = _WARM_UP + len(answer["start"])
            figures = latencies(answer) | {"lost": sent - trace.started, "duplicates": trace.duplicates}
            return figures | {"idle": _idle_share(workers, bench.seconds(_IDLE_SECONDS))}


def latencies(answer: dict[str, list[float]]) -> dict[str, float]:
    """The middle and the slow end of what was probed."""
    found: dict[str, float] = {}
    for key in ("start", "result"):
        if answer[key]:
            found[key] = percentile(answer[key], 0.5)
            found[f"{key}_95"] = percentile(answer[key], 0.95)
    return found


def _idle_share(workers: Sequence[psutil.Process], seconds: float) -> float:
    time.sleep(min(_QUIET_SECONDS, seconds))
    used, began = cpu_seconds(workers), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(workers) - used) / (time.monotonic() - began)
