"""How fast workers empty a store, with one and with two processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from harness.bench import Bench, Entry
from harness.figures import Comparison, Figure, Measured
from harness.processes import cpu_seconds
from harness.trace import rate_of

from .base import Scenario
from .rivals import SQLITE, Rivals

IN_MEMORY = "omniq-memory"
_SETTLE_SECONDS = 0.3


class Drain(Scenario):
    figures = (
        Figure("one", "one process, tasks/s"),
        Figure("two", "two processes, tasks/s"),
        Figure("gain", "two beside one", 2),
        Figure("cpu", "µs of CPU for each task"),
        Figure("lost", "lost"),
        Figure("duplicates", "duplicates"),
        Figure("unsettled", "not succeeded in the store"),
    )

    def __init__(self, rivals: Rivals) -> None:
        self.name = f"drain{rivals.suffix}"
        self.title = f"{rivals.store}, drain: tasks per second from a filled store, workers in processes of their own"
        self.contenders = rivals.all
        self.comparisons = tuple(_comparisons(rivals))

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
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


def _comparisons(rivals: Rivals) -> Iterator[Comparison]:
    one, two, of = (rivals.ours, "one"), (rivals.ours, "two"), f"{rivals.store} drain"
    yield Comparison(f"{of}, one worker process, tasks/s", one, rivals.theirs("one"), rivals.goal("drain"))
    for name in rivals.unsafe:
        yield Comparison(f"{of}, beside {name}, tasks/s", one, ((name, "one"),))
    yield Comparison(f"{of}, two worker processes, tasks/s", two, rivals.theirs("two"))
    yield Comparison(f"{of}, two processes beside one", two, (one,), rivals.goal("two"))


class DrainBesideMemory(Drain):
    """On SQLite, and in memory for comparison."""

    def __init__(self) -> None:
        super().__init__(SQLITE)
        self.contenders = (*self.contenders, IN_MEMORY)
        beside = Comparison(
            "Memory drain beside SQLite's, tasks/s", (IN_MEMORY, "one"), ((SQLITE.ours, "one"),), "1.5 times SQLite's"
        )
        self.comparisons = (*self.comparisons, beside)

    def measure(self, bench: Bench, contender: str) -> Measured:
        if contender == IN_MEMORY:
            return _drain_within(bench, bench.entry(contender))
        return super().measure(bench, contender)


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
