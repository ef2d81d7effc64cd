"""How fast workers empty a store, with one and with two processes."""

from __future__ import annotations

import time

from harness.bench import Bench, Entry
from harness.figures import Comparison, Figure, Measured
from harness.processes import cpu_seconds
from harness.trace import rate_of

from .base import PEERS, QUEUES, UNSAFE, Scenario, account, sources

IN_MEMORY = "omniq-memory"
_SETTLE_SECONDS = 0.3


class Drain(Scenario):
    name = "drain"
    title = "Drain: tasks per second from a filled store, workers in processes of their own"
    contenders = (*QUEUES, IN_MEMORY)
    figures = (
        Figure("one", "one process, tasks/s"),
        Figure("two", "two processes, tasks/s"),
        Figure("gain", "two beside one", 2),
        Figure("cpu", "µs of CPU for each task"),
        Figure("lost", "lost"),
        Figure("duplicates", "duplicates"),
        Figure("unsettled", "not succeeded in the store"),
    )
    comparisons = (
        Comparison(
            "SQLite drain, one worker process, tasks/s",
            ("omniq", "one"),
            sources(PEERS, "one"),
            "12 times the best peer, aim for 20",
        ),
        Comparison("SQLite drain, beside huey without fsync, tasks/s", ("omniq", "one"), ((UNSAFE, "one"),)),
        Comparison("SQLite drain, two worker processes, tasks/s", ("omniq", "two"), sources(PEERS, "two")),
        Comparison(
            "SQLite drain, two processes beside one", ("omniq", "two"), (("omniq", "one"),), "1.3 times one process"
        ),
        Comparison(
            "Memory drain beside SQLite's, tasks/s", (IN_MEMORY, "one"), (("omniq", "one"),), "1.5 times SQLite's"
        ),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        if contender == IN_MEMORY:
            return _drain_within(bench, entry)
        tasks = bench.size(entry.about["drained"])
        one, two = (drain(entry, tasks, processes) for processes in (1, 2))
        figures = {"one": one["rate"], "two": two["rate"], "cpu": one["cpu"]}
        if one["rate"]:
            figures["gain"] = two["rate"] / one["rate"]
        return figures | {key: _total(one[key], two[key]) for key in ("lost", "duplicates", "unsettled")}


def drain(entry: Entry, tasks: int, processes: int = 1) -> dict[str, float | None]:
    """Fill a new store, then let workers empty it."""
    entry.new_store()
    trace = entry.trace(tasks, slots=processes)
    entry.step("send_many", tasks=tasks)
    with entry.workers(processes) as workers:
        trace.wait(tasks)
        used = cpu_seconds(workers)
        time.sleep(_SETTLE_SECONDS)
    succeeded = entry.step("succeeded")
    return {
        "rate": rate_of(trace.starts()),
        "cpu": used / max(1, trace.started) * 1e6,
        "unsettled": None if succeeded is None else tasks - succeeded,
        **account(trace, tasks),
    }


def _drain_within(bench: Bench, entry: Entry) -> Measured:
    tasks = bench.size(20_000)
    entry.new_store()
    trace = entry.trace(2 * tasks + 10_000)
    # A worker process has uvloop where it is installed, so this one has it too.
    answer = entry.step("within", tasks=tasks, probes=1, drains=True, uvloop=True)
    return {
        "one": rate_of(sorted(at for at in answer["drain"] if at)),
        "lost": answer["drain"].count(None),
        "duplicates": trace.duplicates,
    }


def _total(*numbers: float | None) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
