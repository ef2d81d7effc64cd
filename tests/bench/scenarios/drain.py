"""How fast workers empty a store, with one and with two processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from harness.bench import Bench, Entry, is_omniq
from harness.figures import Comparison, Figure, Measured
from harness.processes import Load, cpu_seconds
from harness.trace import rate_of

from .base import Scenario
from .rivals import SQLITE, Rivals

IN_MEMORY = "omniq-memory"
_SETTLE_SECONDS = 0.3
_COMPUTING, _COMPUTING_TASKS = 0.0005, 5000
"""Seconds that a task computes in the last comparison, where the workers have more to do than the store has."""


class Drain(Scenario):
    figures = (
        Figure("one", "one process, tasks/s"),
        Figure("two", "two processes, tasks/s"),
        Figure("gain", "two beside one", 2),
        Figure("cpu", "µs of CPU for each task"),
        Figure("busy", "all processors busy with two, %"),
        Figure("server", "server with two, % of a processor"),
        Figure("computing", "two beside one, tasks that compute", 2),
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
        drains = [one, two, *_drain_computing(bench, entry)]
        return {
            "one": one.rate,
            "two": two.rate,
            "gain": _gain(one, two),
            "cpu": one.cpu,
            "busy": two.busy,
            "server": two.server,
            "computing": _gain(*drains[2:]) if drains[2:] else None,
            "lost": sum(each.lost for each in drains),
            "duplicates": sum(each.duplicates for each in drains),
            "unsettled": None if one.unsettled is None else sum(each.unsettled or 0 for each in drains),
        }


def _drain_computing(bench: Bench, entry: Entry) -> list[Drained]:
    """By one process, and by two; of contenders whose tasks can compute, which are OmniQ's."""
    if not is_omniq(entry.name):
        return []
    tasks = bench.size(_COMPUTING_TASKS)
    return [drain(entry, tasks, processes, computing=_COMPUTING) for processes in (1, 2)]


def _gain(one: Drained, two: Drained) -> float | None:
    return two.rate / one.rate if one.rate else None


def _comparisons(rivals: Rivals) -> Iterator[Comparison]:
    one, two, of = (rivals.ours, "one"), (rivals.ours, "two"), f"{rivals.store} drain"
    yield Comparison(f"{of}, one worker process, tasks/s", one, rivals.theirs("one"), rivals.goal("drain"))
    for name in rivals.unsafe:
        yield Comparison(f"{of}, beside {name}, tasks/s", one, ((name, "one"),))
    yield Comparison(f"{of}, two worker processes, tasks/s", two, rivals.theirs("two"))
    yield Comparison(f"{of}, two processes beside one", two, (one,), rivals.goal("two"))
    computing = f"{of}, tasks of {_COMPUTING * 1000:g} ms: two beside one"
    yield Comparison(computing, (rivals.ours, "computing"), (), rivals.goal("computing"), digits=2)


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
        busy: How busy all processors were, in percent; ``None``: it was over too soon to tell.
        server: How much of one the store's server took, in percent; ``None``: there is none.
    """

    rate: float
    cpu: float
    lost: int
    duplicates: int
    unsettled: int | None
    busy: float | None
    server: float | None


def drain(entry: Entry, tasks: int, processes: int = 1, *, computing: float = 0.0) -> Drained:
    """Fill a new store, then let workers empty it. Tasks compute for so many seconds, where they can."""
    entry.new_store()
    trace = entry.trace(tasks, slots=processes)
    entry.step("send_many", tasks=tasks)
    with entry.workers(processes, computing=computing) as workers:
        trace.wait(1)
        used, at, load = cpu_seconds(workers), trace.started, Load(entry.host.pid)
        trace.wait(tasks)
        used, (busy, server) = cpu_seconds(workers) - used, load.shares()
        cpu = used / max(1, trace.started - at) * 1e6
        time.sleep(_SETTLE_SECONDS)
    succeeded = entry.step("succeeded")
    unsettled = None if succeeded is None else tasks - succeeded
    return Drained(rate_of(trace.starts()), cpu, tasks - trace.started, trace.duplicates, unsettled, busy, server)


def _drain_within(bench: Bench, entry: Entry) -> Measured:
    tasks = bench.size(60_000)
    entry.new_store()
    trace = entry.trace(2 * tasks + 10_000)
    # A worker process has uvloop where it is installed, so this one has it too.
    answer = entry.step("within", tasks=tasks, probes=1, drains=True, uvloop=True)
    return {
        "one": rate_of(sorted(at for at in answer["drain"] if at)),
        "lost": answer["drain"].count(None),
        "duplicates": trace.duplicates,
    }
