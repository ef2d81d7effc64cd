"""saq on Redis and PostgreSQL. Its calls for many wait for their results, so a hundred callers send them here."""

from __future__ import annotations

from typing import Any

from harness.trace import mark
from saq import Job, Status, Worker
from saq import Queue as SaqQueue
from saq.utils import now

from .base import EACH_COMMIT, NOTHING_KEPT, Queue, Store, run_quickly

_AT_A_TIME = 100
_LOOK_SECONDS = 0.05


class Saq(Queue):
    package = "saq"
    results = "results stored for ten minutes"
    delivery = "swept after a timeout: at least once"
    concurrent = True

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self.durability = NOTHING_KEPT if store.kind == "redis" else EACH_COMMIT
        self.queue: Any = None

    async def open(self) -> None:
        self.queue = SaqQueue.from_url(self.store.url)
        await self.queue.connect()

    async def close(self) -> None:
        await self.queue.disconnect()

    async def send(self, index: int) -> object:
        return await self.queue.enqueue("noop", index=index)

    async def ask(self, index: int) -> object:
        job = await self.queue.enqueue("noop", index=index)
        while True:
            # What waits for the end misses one between its look and its subscription: then it has to look again. (Its
            # own `apply` looks every half second.)
            try:
                await job.refresh(until_complete=_LOOK_SECONDS)
            except TimeoutError:
                continue
            return job.result

    async def fill(self, tasks: int) -> None:
        if self.store.kind != "redis":
            await super().fill(tasks)
            return
        # As keys, a thousand in one go: task by task it would take minutes.
        step = 1000
        for begin in range(0, tasks, step):
            pipeline = self.queue.redis.pipeline(transaction=False)
            for index in range(begin, min(begin + step, tasks)):
                job = Job("noop", kwargs={"index": index}, queue=self.queue, status=Status.QUEUED, queued=now())
                pipeline.set(job.id, self.queue.serialize(job))
                pipeline.zadd(self.queue.namespace("incomplete"), {job.id: job.scheduled})
                pipeline.rpush(self.queue.namespace("queued"), job.id)
            await pipeline.execute()

    def work(self) -> None:
        run_quickly(self._work())

    async def _work(self) -> None:
        await self.open()
        await Worker(self.queue, functions=[("noop", _noop)], concurrency=_AT_A_TIME).start()


async def _noop(_: object, *, index: int) -> dict[str, int]:
    mark(index)
    return {"i": index}


CONTENDER = Saq
