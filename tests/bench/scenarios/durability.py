"""What ``durability="full"`` costs, and how many flushes to the disk it takes for each transaction."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time

from harness.bench import Bench, Entry
from harness.figures import Comparison, Figure, Measured

from .base import Scenario
from .drain import drain

_COUNTED = 5000
_FLUSHES = "fsync,fdatasync,sync_file_range,msync"
_SETTLE_SECONDS = 0.3


class Durability(Scenario):
    name = "durability"
    title = 'Durability: "normal" (a power cut may undo the last commits) and "full" (it does not)'
    contenders = ("omniq", "omniq-full")
    figures = (
        Figure("each", "one caller, each awaited, tasks/s"),
        Figure("bulk", "bulk, tasks/s"),
        Figure("drain", "drain, one process, tasks/s"),
        Figure("commits", f"transactions of a worker for {_COUNTED:,} tasks"),
        Figure("flushes", "flushes to the disk meanwhile"),
        Figure("flushes_per_commit", "flushes for each transaction", 2),
    )
    comparisons = (
        Comparison(
            'Flushes for each transaction, "full"',
            ("omniq-full", "flushes_per_commit"),
            goal="1, and those of checkpoints",
            digits=2,
        ),
        Comparison('Drain with "full" beside "normal", tasks/s', ("omniq-full", "drain"), (("omniq", "drain"),)),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        entry.new_store()
        each = entry.step("send_each", tasks=bench.size(1000))["rate"]
        entry.new_store()
        bulk = entry.step("send_many", tasks=bench.size(20_000), warm_up=True)["rate"]
        drained = drain(entry, bench.size(20_000)).rate
        return {"each": each, "bulk": bulk, "drain": drained, **_count_flushes(entry, bench.size(_COUNTED))}


def _count_flushes(entry: Entry, tasks: int) -> dict[str, float | str]:
    strace = _strace()
    if strace is None:
        return {"flushes": "not measured: strace is not installed, or may not be used here"}
    entry.new_store()
    trace = entry.trace(tasks)
    entry.step("send_many", tasks=tasks)
    counts, commits = entry.directory / "flushes", entry.directory / "commits"
    counting = (strace, "--follow-forks", "--summary-only", "-e", f"trace={_FLUSHES}", "-o", str(counts))
    with entry.workers(wrapper=counting, commits=str(commits)):
        trace.wait(tasks)
        time.sleep(_SETTLE_SECONDS)
    flushes, transactions = _calls(counts.read_text()), int(commits.read_text())
    return {"commits": transactions, "flushes": flushes, "flushes_per_commit": flushes / max(1, transactions)}


def _strace() -> str | None:
    strace = shutil.which("strace")
    if strace is None:
        return None
    works = subprocess.run([strace, "-o", os.devnull, sys.executable, "-c", ""], capture_output=True, check=False)
    return strace if works.returncode == 0 else None


def _calls(summary: str) -> int:
    """The calls in strace's summary: time, seconds, µs per call, calls, perhaps errors, name."""
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", summary, re.MULTILINE)
    return sum(int(calls) for calls, name in rows if name in _FLUSHES.split(","))
