"""The dashboard's feed on a store with a million tasks: how soon it shows it and a change, and what waiting costs."""

from __future__ import annotations

import sys

from harness.bench import Bench
from harness.figures import Comparison, Figure, Measured, percentile
from harness.processes import run_step

from .backlog import SIZES
from .base import Scenario

_TASKS = SIZES["huge"]
_CHANGES = 20
_IDLE_SECONDS = 10.0
_ENDED = 20_000


class Dashboard(Scenario):
    name = "dashboard"
    title = "Dashboard on a store with 1,000,000 tasks: what feeds it, without the browser"
    contenders = ("omniq",)
    figures = (
        Figure("open", "open, first full state, ms"),
        Figure("import", "and before, once: loading the package, ms"),
        Figure("refresh", "shows a change, ms"),
        Figure("refresh_most", "slowest, ms"),
        Figure("idle", "idle, % of a core", 2),
        Figure("total", "tasks that it counted"),
    )
    comparisons = (
        Comparison("Dashboard, 1M tasks: open, ms", ("omniq", "open"), goal="1,000 at most", less_is_better=True),
        Comparison(
            "Dashboard, 1M tasks: shows a change, ms",
            ("omniq", "refresh"),
            goal="250 at most",
            less_is_better=True,
        ),
        Comparison(
            "Dashboard, 1M tasks: idle, % of a core",
            ("omniq", "idle"),
            goal="under 3",
            less_is_better=True,
            digits=2,
        ),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        tasks = bench.size(_TASKS)
        entry.filled_store(tasks)
        # Some of them have ended, so that there are results and events too.
        trace = entry.trace(tasks)
        with entry.workers():
            trace.wait(min(tasks // 2, _ENDED))
        changes = max(2, min(_CHANGES, round(_CHANGES * bench.scale)))
        command = [sys.executable, "-m", "contenders.omniq_dashboard", str(entry.store / "omniq.db")]
        command += [str(changes), str(bench.seconds(_IDLE_SECONDS))]
        answer = run_step(command, bench.environment(), bench.scratch)
        return {
            "open": answer["open"],
            "import": answer["import"],
            "refresh": percentile(answer["refresh"], 0.5),
            "refresh_most": max(answer["refresh"]),
            "idle": answer["idle"],
            "total": answer["total"],
        }
