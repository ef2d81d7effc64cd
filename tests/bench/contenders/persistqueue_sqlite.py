"""persist-queue's SQLiteAckQueue: no worker and no results; the worker here gets, runs and acknowledges in a loop."""

from __future__ import annotations

import time

import persistqueue
from harness.trace import mark

from .base import Queue, Store

POLL_SECONDS = 0.001


class PersistQueue(Queue):
    package = "persist-queue"
    results = "no results"
    delivery = "acknowledged; what is not comes back when the queue is opened again, to two workers at times"
    durability = "its default: synchronous=FULL"
    awaits = False

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self.queue = persistqueue.SQLiteAckQueue(
            str(store.directory), multithreading=True, auto_commit=True, timeout=30
        )

    async def send(self, index: int) -> object:
        return self.queue.put({"i": index})

    def work(self) -> None:
        while True:
            try:
                item = self.queue.get(block=False)
            except persistqueue.Empty:
                time.sleep(POLL_SECONDS)
                continue
            mark(item["i"])
            self.queue.ack(item)


CONTENDER = PersistQueue
