"""Within one kernel: OmniQ in memory and on SQLite, and what a notebook's user would take instead."""

from __future__ import annotations

from harness.bench import Bench
from harness.figures import Comparison, Figure, Measured
from harness.trace import rate_of

from .base import Scenario
from .latency import latencies

IN_KERNEL = ("omniq-memory", "omniq-kernel")
CLUSTERS = ("dask", "ipyparallel")
_WARM_UP = 20


class Kernel(Scenario):
    name = "kernel"
    title = "Within one kernel: OmniQ's workers in it, and a notebook user's alternatives"
    contenders = (*IN_KERNEL, "threads", *CLUSTERS)
    figures = (
        Figure("round_trip", "sent together, all results awaited, tasks/s"),
        Figure("drain", "drained from a filled store, tasks/s"),
        Figure("start", "to start, ms", 2),
        Figure("result", "to the result, ms", 2),
        Figure("result_95", "95 %, ms", 2),
        Figure("open", "to begin with, s", 2),
        Figure("lost", "lost"),
        Figure("duplicates", "duplicates"),
    )
    comparisons = (
        *(
            Comparison(
                f"Same kernel, {store}: enqueue to {event}, ms",
                (contender, key),
                goal=goal,
                less_is_better=True,
                digits=2,
            )
            for contender, store in zip(IN_KERNEL, ("memory", "SQLite"), strict=True)
            for key, event, goal in (("start", "start", "1 at most"), ("result", "result", "2 at most"))
        ),
        Comparison(
            "Same kernel: memory drain beside SQLite's, tasks/s",
            ("omniq-memory", "drain"),
            (("omniq-kernel", "drain"),),
            "1.5 times SQLite's",
        ),
        Comparison(
            "Same kernel, SQLite, beside Dask and ipyparallel, tasks/s",
            ("omniq-kernel", "round_trip"),
            tuple((name, "round_trip") for name in CLUSTERS),
        ),
        Comparison(
            "Same kernel, memory, beside threads, tasks/s", ("omniq-memory", "round_trip"), (("threads", "round_trip"),)
        ),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        tasks, probes = bench.size(entry.about["tasks"]), bench.size(entry.about["probes"])
        drains = contender in IN_KERNEL
        wanted = (2 if drains else 1) * tasks + probes + 2 * _WARM_UP
        entry.new_store()
        trace = entry.trace(wanted)
        answer = entry.step("within", tasks=tasks, probes=probes, drains=drains)
        sent = wanted - probes + len(answer["start"])
        figures: dict[str, float] = {"round_trip": answer["round_trip"], "open": answer["open"], **latencies(answer)}
        if drains:
            figures["drain"] = rate_of(sorted(at for at in answer["drain"] if at))
        return figures | {"lost": sent - trace.started, "duplicates": trace.duplicates}
