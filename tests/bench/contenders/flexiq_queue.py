"""flexiq (a core in Rust) on SQLite and Redis, with the settings that made it fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flexiq import Queue as FlexiqQueue
from harness.trace import mark

from .base import NOTHING_KEPT, Queue, Store

_DURABILITY = {
    "sqlite": "its default, as synchronous=NORMAL",
    "redis": NOTHING_KEPT,
}


class Flexiq(Queue):
    package = "flexiq"
    results = "results stored"
    delivery = "taken back after a timeout: at least once"
    bulk = True
    drained = 3000
    probes = 80

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self.durability = _DURABILITY[store.kind]
        self.queue = FlexiqQueue(
            **_place(store),
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


def _place(store: Store) -> dict[str, Any]:
    if store.url:
        return {"backend": store.kind, "db_url": store.url}
    return {"db_path": str(store.directory / "flexiq.db")}


def _noop(index: int) -> dict[str, int]:
    mark(index)
    return {"i": index}


CONTENDER = Flexiq
