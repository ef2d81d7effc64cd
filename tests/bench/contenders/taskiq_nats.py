"""taskiq on NATS, by its broker that pulls from JetStream. Without results, as it is unless told otherwise."""

from __future__ import annotations

from harness.trace import mark
from taskiq.api import run_receiver_task
from taskiq_nats import PullBasedJetStreamBroker

from .base import NOW_AND_THEN, Queue, Store, run_quickly

_AT_A_TIME = 100


class TaskiqNats(Queue):
    package = "taskiq-nats"
    results = "no results, its default"
    delivery = "acknowledged after it ran: at least once"
    durability = NOW_AND_THEN
    awaits = False
    concurrent = True
    drained = 20_000

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self.broker = PullBasedJetStreamBroker([store.url], pull_consume_batch=_AT_A_TIME, pull_consume_timeout=1.0)
        self.noop = self.broker.task(task_name="noop")(_noop)

    async def open(self) -> None:
        await self.broker.startup()

    async def close(self) -> None:
        await self.broker.shutdown()

    async def send(self, index: int) -> object:
        return await self.noop.kiq(index)

    def work(self) -> None:
        run_quickly(self._work())

    async def _work(self) -> None:
        self.broker.is_worker_process = True
        await self.open()
        await run_receiver_task(self.broker, max_async_tasks=_AT_A_TIME, max_prefetch=_AT_A_TIME)


async def _noop(index: int) -> dict[str, int]:
    mark(index)
    return {"i": index}


CONTENDER = TaskiqNats
