"""litequeue: no worker and no results; the worker here takes, runs and ticks off in a loop, and looks every ms."""

from __future__ import annotations

import json
import time

from harness.trace import mark
from litequeue import LiteQueue

from .base import Queue, Store

POLL_SECONDS = 0.001
_FILL = """
INSERT INTO [Queue] (data, message_id, status, in_time)
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < ?)
SELECT json_object('i', i), printf('%032x', i), 0, i FROM numbers
"""


class Litequeue(Queue):
    package = "litequeue"
    results = "no results"
    delivery = "locked, then ticked off: what a dead worker held stays locked"
    durability = "its default: synchronous=NORMAL"
    awaits = False
    singles = 5000

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self.queue = LiteQueue(str(store.directory / "litequeue.db"), timeout=30)

    async def send(self, index: int) -> object:
        return self.queue.put(json.dumps({"i": index}))

    async def fill(self, tasks: int) -> None:
        # As rows, not call by call: that would take minutes.
        self.queue.conn.execute(_FILL, (tasks,))

    def work(self) -> None:
        while True:
            message = self.queue.pop()
            if message is None:
                time.sleep(POLL_SECONDS)
                continue
            mark(json.loads(message.data)["i"])
            self.queue.done(message.message_id)


CONTENDER = Litequeue
