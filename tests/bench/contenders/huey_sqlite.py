"""huey on SQLite. It has no call that sends many at once; its consumer polls, here every 5 ms."""

from __future__ import annotations

from pathlib import Path

from harness.trace import mark
from huey import SqliteHuey

from .base import Queue

POLL_SECONDS = 0.005


class Huey(Queue):
    package = "huey"
    results = "results stored"
    delivery = "taken out before it runs: at most once"

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, directory)
        no_sync = name == "huey-nosync"
        self.durability = "fsync=False: a power cut may spoil the file" if no_sync else "its default: synchronous=FULL"
        options = {"fsync": False} if no_sync else {}
        self.huey = SqliteHuey("bench", filename=str(directory / "huey.db"), **options)
        self.noop = self.huey.task(name="noop")(_noop)

    async def send(self, index: int) -> object:
        return self.noop(index)

    async def ask(self, index: int) -> object:
        return self.noop(index).get(blocking=True, timeout=20, backoff=1.0, max_delay=0.002)

    def work(self) -> None:
        # One thread: a few are slower here, since they wait for the same write lock.
        consumer = self.huey.create_consumer(
            workers=1, periodic=False, initial_delay=POLL_SECONDS, max_delay=POLL_SECONDS
        )
        consumer.run()


def _noop(index: int) -> dict[str, int]:
    mark(index)
    return {"i": index}


CONTENDER = Huey
