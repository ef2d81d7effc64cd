"""How fast workers empty a store, with one and with two processes."""

from __future__ import annotations

import time
from typing import NamedTuple

from harness.bench import Bench, Entry
from harness.figures import Comparison, Figure, Measured
from harness.processes import cpu_seconds
from harness.trace import rate_of

from .base import PEERS, QUEUES, UNSAFE, Scenario, sources

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
        return {
            "one": one.rate,
            "two": two.rate,
            "gain": two.rate / one.rate if one.rate else None,
            "cpu": one.cpu,
            "lost": one.lost + two.lost,
            "duplicates": one.duplicates + two.duplicates,
            "unsettled": None if one.unsettled is None or two.unsettled is None else one.unsettled + two.unsettled,
        }


class Drained(NamedTuple):
    """What came of a drain.

    Attributes:
        rate: Tasks that started in a second.
        cpu: Microseconds of processor time that the workers took for each task.
        lost: Tasks that never started.
        duplicates: Starts beyond a task's first.
        unsettled: Tasks that the store does not hold as succeeded; ``None``: it can't say.
    """

    rate: float
    cpu: float
    lost: int
    duplicates: int
    unsettled: int | None


def drain(entry: Entry, tasks: int, processes: int = 1) -> Drained:
    """Fill a new store, then let workers empty it."""
    entry.new_store()
    trace = entry.trace(tasks, slots=processes)
    entry.step("send_many", tasks=tasks)
    with entry.workers(processes) as workers:
        trace.wait(1)
        used, at = cpu_seconds(workers), trace.started
        trace.wait(tasks)
        used = cpu_seconds(workers) - used
        cpu = used / max(1, trace.started - at) * 1e6
        time.sleep(_SETTLE_SECONDS)
    succeeded = entry.step("succeeded")
    unsettled = None if succeeded is None else tasks - succeeded
    return Drained(rate_of(trace.starts()), cpu, tasks - trace.started, trace.duplicates, unsettled)


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
