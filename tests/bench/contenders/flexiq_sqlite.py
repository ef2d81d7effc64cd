"""flexiq (a core in Rust) on SQLite, with the settings that made it fastest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flexiq import Queue as FlexiqQueue
from harness.trace import mark

from .base import Queue


class Flexiq(Queue):
    package = "flexiq"
    results = "results stored"
    delivery = "taken back after a timeout: at least once"
    durability = "its default, as synchronous=NORMAL"
    bulk = True
    drained = 3000
    probes = 80

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, directory)
        self.queue = FlexiqQueue(
            db_path=str(directory / "flexiq.db"),
            workers=2,
            scheduler_batch_size=128,
            push_dispatch=False,
            scheduler_poll_interval_ms=1,
        )
        self.noop = self.queue.task(name="noop")(_noop)

    async def send(self, index: int) -> object:
        return self.noop.delay(index)

    async def send_many(self, indexes: Sequence[int]) -> None:
        self.queue.enqueue_many("noop", [(index,) for index in indexes])

    async def ask(self, index: int) -> object:
        return self.noop.delay(index).result(timeout=20)

    def work(self) -> None:
        self.queue.run_worker()


def _noop(index: int) -> dict[str, int]:
    mark(index)
    return {"i": index}


CONTENDER = Flexiq
