"""huey on SQLite, Redis and files. It has no call that sends many at once.

Its consumer polls SQLite and files, here every 5 ms; on Redis a thread waits in the server for the next task.
"""

from __future__ import annotations

from typing import Any

from harness.trace import mark
from huey import FileHuey, RedisHuey, SqliteHuey
from huey import Huey as AnyHuey

from .base import NOTHING_KEPT, Queue, Store

POLL_SECONDS = 0.005
_DURABILITY = {
    "sqlite": "its default: synchronous=FULL",
    "redis": NOTHING_KEPT,
    "files": "files are not flushed to the disk",
}
_THREADS = {"redis": 10}
"""Elsewhere one: a few are slower, since they wait for the same lock."""

_DRAINED = {"files": 2000}
"""For each task it lists all others that wait."""


class Huey(Queue):
    package = "huey"
    results = "results stored"
    delivery = "taken out before it runs: at most once"

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        no_sync = name == "huey-nosync"
        self.durability = "fsync=False: a power cut may spoil the file" if no_sync else _DURABILITY[store.kind]
        self.drained = _DRAINED.get(store.kind, self.drained)
        self.huey = _open(store, {"fsync": False} if no_sync else {})
        self.noop = self.huey.task(name="noop")(_noop)

    async def send(self, index: int) -> object:
        return self.noop(index)

    async def ask(self, index: int) -> object:
        return self.noop(index).get(blocking=True, timeout=20, backoff=1.0, max_delay=0.002)

    def work(self) -> None:
        consumer = self.huey.create_consumer(
            workers=_THREADS.get(self.store.kind, 1),
            periodic=False,
            initial_delay=POLL_SECONDS,
            max_delay=POLL_SECONDS,
        )
        consumer.run()


def _open(store: Store, options: dict[str, Any]) -> AnyHuey:
    if store.kind == "redis":
        return RedisHuey("bench", url=store.url)
    if store.kind == "files":
        return FileHuey("bench", path=str(store.directory / "huey"))
    return SqliteHuey("bench", filename=str(store.directory / "huey.db"), **options)


def _noop(index: int) -> dict[str, int]:
    mark(index)
    return {"i": index}


CONTENDER = Huey
