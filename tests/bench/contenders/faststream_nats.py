"""FastStream on NATS: a framework for messages, without results. They are pulled from JetStream, 100 at a time."""

from __future__ import annotations

from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from harness.trace import mark

from .base import NOW_AND_THEN, Queue, Store, run_quickly

_AT_A_TIME = 100
_SUBJECT = "bench.noop"
_STREAM = JStream("bench", subjects=["bench.>"])


class Faststream(Queue):
    package = "faststream"
    results = "no results"
    delivery = "acknowledged after it ran: at least once"
    durability = NOW_AND_THEN
    awaits = False
    concurrent = True
    drained = 20_000

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self.broker = NatsBroker(store.url)

    async def open(self) -> None:
        self.broker.publisher(_SUBJECT, stream=_STREAM)  # makes the stream
        await self.broker.start()

    async def close(self) -> None:
        await self.broker.stop()

    async def send(self, index: int) -> object:
        return await self.broker.publish(index, _SUBJECT, stream=_STREAM.name)

    def work(self) -> None:
        pull = PullSub(batch_size=_AT_A_TIME, timeout=1.0)
        self.broker.subscriber(_SUBJECT, stream=_STREAM, durable="workers", pull_sub=pull)(_noop)
        run_quickly(FastStream(self.broker).run())


async def _noop(index: int) -> None:
    mark(index)


CONTENDER = Faststream
