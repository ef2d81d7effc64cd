"""How fast tasks are stored: by one caller, by a hundred, and in bulk. No worker runs meanwhile."""

from __future__ import annotations

from harness.bench import Bench
from harness.figures import Comparison, Figure, Measured

from .base import PEERS, QUEUES, UNSAFE, WITH_RESULTS, Scenario, sources

_CONCURRENT = 10_000


class Sending(Scenario):
    name = "enqueue"
    title = "Enqueue: tasks per second stored, no worker running"
    contenders = QUEUES
    figures = (
        Figure("each", "one caller, each awaited, tasks/s"),
        Figure("callers", "100 concurrent callers, tasks/s"),
        Figure("bulk", "bulk, 1,000 at a time, tasks/s"),
    )
    comparisons = (
        Comparison(
            "One at a time, beside peers that store results, tasks/s",
            ("omniq", "each"),
            sources(WITH_RESULTS, "each"),
            "the best of them",
        ),
        Comparison("One at a time, beside all safe peers, tasks/s", ("omniq", "each"), sources(PEERS, "each")),
        Comparison("One at a time, beside huey without fsync, tasks/s", ("omniq", "each"), ((UNSAFE, "each"),)),
        Comparison(
            "100 concurrent callers, beside one caller of those peers, tasks/s",
            ("omniq", "callers"),
            sources(WITH_RESULTS, "each"),
            "3 times",
        ),
        Comparison("Bulk, tasks/s", ("omniq", "bulk"), sources(PEERS, "bulk"), "1.5 times the best peer"),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        entry = bench.entry(contender)
        about = entry.about
        entry.new_store()
        figures = {"each": entry.step("send_each", tasks=bench.size(about["singles"]))["rate"]}
        if about["concurrent"]:
            entry.new_store()
            figures["callers"] = entry.step("send_concurrently", tasks=bench.size(_CONCURRENT))["rate"]
        if about["bulk"]:
            entry.new_store()
            tasks = bench.size(about["many"])
            figures["bulk"] = entry.step("send_many", tasks=tasks, warm_up=True)["rate"]
        return figures
