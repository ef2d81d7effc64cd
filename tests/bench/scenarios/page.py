"""A dashboard in JupyterLab, in a browser, while 1,000 tasks finish each second: does the page stay smooth?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from harness.bench import Bench, Entry
from harness.figures import Comparison, Figure, Measured, Value, percentile
from harness.processes import run_step
from harness.trace import rate_of

from .base import Scenario

_RATE = 1000.0
_SECONDS = 10.0
_WARM_UP = 200
_BUSY, _CLOSED, _IDLE = "omniq", "omniq-closed", "omniq-idle"
_LATE_MS = 50.0
_MB = 1e6


class Page(Scenario):
    name = "page"
    title = "Dashboard in a browser while 1,000 tasks/s finish; the same page without it, and with nothing happening"
    contenders = (_BUSY, _CLOSED, _IDLE)
    figures = (
        Figure("rate", "tasks/s that ran"),
        Figure("frame", "frame, ms", 1),
        Figure("frame_95", "95 %, ms", 1),
        Figure("frame_most", "longest, ms", 1),
        Figure("late", "later than 50 ms, % of frames", 2),
        Figure("long", "long tasks"),
        Figure("long_most", "longest, ms"),
        Figure("long_total", "together, ms"),
        Figure("busy", "page's thread, % of a core", 1),
        Figure("click", "click shows, ms"),
        Figure("click_most", "slowest, ms"),
        Figure("answer", "and its tasks, ms"),
        Figure("answer_most", "slowest, ms"),
        Figure("changes", "counts move, times/s", 1),
        Figure("renders", "view changes, times/s", 1),
        Figure("view_nodes", "elements of the view, at most"),
        Figure("nodes", "DOM nodes before"),
        Figure("nodes_after", "after"),
        Figure("heap", "heap before, MB", 1),
        Figure("heap_after", "after, MB", 1),
        Figure("lost", "lost"),
        Figure("duplicates", "duplicates"),
        Figure("unsettled", "not succeeded in the store"),
    )
    comparisons = (
        Comparison(
            "Page at 1,000 tasks/s, beside one without a dashboard: frame, 95 %, ms",
            (_BUSY, "frame_95"),
            ((_CLOSED, "frame_95"),),
            less_is_better=True,
            digits=1,
        ),
        Comparison(
            "Page at 1,000 tasks/s: frames later than 50 ms, %",
            (_BUSY, "late"),
            ((_CLOSED, "late"),),
            less_is_better=True,
            digits=2,
        ),
        Comparison("Page at 1,000 tasks/s: longest task, ms", (_BUSY, "long_most"), less_is_better=True),
        Comparison(
            "Page at 1,000 tasks/s, beside one where nothing happens: click shows, ms",
            (_BUSY, "click"),
            ((_IDLE, "click"),),
            less_is_better=True,
        ),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        entry.new_store()
        seconds = bench.seconds(_SECONDS)
        rate = 0.0 if contender == _IDLE else _RATE
        trace = entry.trace(_WARM_UP + round(rate * (seconds + 5)))
        with entry.workers():
            answer = _step(bench, entry, rate=rate, seconds=seconds, board=contender != _CLOSED)
        began = trace.starts()[_WARM_UP:]
        return {
            **_figures(answer),
            "rate": rate_of(began),
            "lost": answer["sent"] - trace.started,
            "duplicates": trace.duplicates,
            "unsettled": answer["sent"] - answer["succeeded"],
        }


def _step(bench: Bench, entry: Entry, **arguments: Any) -> dict[str, Any]:
    said = {
        "store": f"sqlite:///{entry.store}/omniq.db",
        "home": str(entry.store / "lab"),
        "warm_up": _WARM_UP,
        **arguments,
    }
    command = [sys.executable, "-m", "contenders.omniq_page", json.dumps(said)]
    answer: dict[str, Any] = run_step(command, bench.environment(), bench.scratch)
    return answer


def _figures(answer: dict[str, Any]) -> dict[str, Value]:
    frames, long, seconds = answer["frames"], answer["long_tasks"], answer["seconds"]
    before, after = (dict(zip(("nodes", "listeners", "heap"), answer[key], strict=True)) for key in ("before", "after"))
    figures: dict[str, Value] = {
        "frame": percentile(frames, 0.5),
        "frame_95": percentile(frames, 0.95),
        "frame_most": max(frames),
        "late": 100 * sum(frame > _LATE_MS for frame in frames) / len(frames),
        "long": len(long),
        "long_most": max(long, default=0.0),
        "long_total": sum(long),
        "busy": 100 * answer["busy"],
        "nodes": before["nodes"],
        "nodes_after": after["nodes"],
        "heap": before["heap"] / _MB,
        "heap_after": after["heap"] / _MB,
    }
    return figures | (_of_the_view(answer, seconds) if answer["clicks"] else {})


def _of_the_view(answer: dict[str, Any], seconds: float) -> dict[str, Value]:
    shown = [click["shown"] for click in answer["clicks"]]
    answered = [click["answered"] for click in answer["clicks"]]
    return {
        **_middle_and_most("click", shown),
        **_middle_and_most("answer", answered),
        "changes": max(0, len(answer["counts"]) - 1) / seconds,
        "renders": answer["renders"] / seconds,
        "view_nodes": answer["nodes"],
    }


def _middle_and_most(key: str, times: Sequence[float]) -> dict[str, Value]:
    return {key: percentile(times, 0.5), f"{key}_most": max(times)}
