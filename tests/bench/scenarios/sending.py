"""How fast tasks are stored: by one caller, by a hundred, and in bulk. No worker runs meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from harness.bench import Bench
from harness.figures import Comparison, Figure, Measured

from .base import Scenario
from .rivals import Rivals

_CONCURRENT = 10_000


class Sending(Scenario):
    figures = (
        Figure("each", "one caller, each awaited, tasks/s"),
        Figure("callers", "100 concurrent callers, tasks/s"),
        Figure("bulk", "bulk, 1,000 at a time, tasks/s"),
    )

    def __init__(self, rivals: Rivals) -> None:
        self.name = f"enqueue{rivals.suffix}"
        self.title = f"{rivals.store}, enqueue: tasks per second stored, no worker running"
        self.contenders = rivals.all
        self.comparisons = tuple(_comparisons(rivals))

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


def _comparisons(rivals: Rivals) -> Iterator[Comparison]:
    each, callers, bulk = ((rivals.ours, key) for key in ("each", "callers", "bulk"))
    beside = "beside peers that store results"
    if rivals.with_results:
        theirs = rivals.theirs_with_results("each")
        yield Comparison(f"{rivals.store}, one at a time, {beside}, tasks/s", each, theirs, rivals.goal("each"))
    if rivals.with_results != rivals.peers:
        yield Comparison(f"{rivals.store}, one at a time, beside all safe peers, tasks/s", each, rivals.theirs("each"))
    for name in rivals.unsafe:
        yield Comparison(f"{rivals.store}, one at a time, beside {name}, tasks/s", each, ((name, "each"),))
    most = "the most that they store one by one"
    yield Comparison(
        f"{rivals.store}, 100 concurrent callers, beside {most}, tasks/s",
        callers,
        rivals.their_callers,
        rivals.goal("callers"),
    )
    yield Comparison(f"{rivals.store}, bulk, tasks/s", bulk, rivals.their_bulk, rivals.goal("bulk"))
