"""OmniQ on any store: workers are the command that users start, producers an app of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import omniq
from omniq import AsyncOmniQ, cli

from .base import EACH_COMMIT, NOTHING_KEPT, NOW_AND_THEN, Queue, Store
from .omniq_task import noop

_URLS = {"sqlite": "sqlite:///{}/omniq.db", "files": "file:///{}/omniq"}
"""Of stores that lie in the directory."""
_DURABILITY = {
    "sqlite": "durability={!r}: synchronous={}",
    "redis": NOTHING_KEPT,
    "postgres": EACH_COMMIT,
    "nats": NOW_AND_THEN,
    "files": "durability={!r}: a power cut may take the last commits",
}

_SECRET = "of-tasks-that-do-nothing"
"""Stores that machines may share ask for one."""


class OmniQ(Queue):
    package = "omniq-nb"
    results = "results stored, and three events for each task"
    delivery = "lease and fence: at least once, one accepted completion"
    concurrent = bulk = True
    singles = 2000
    drained = 60_000

    def __init__(self, name: str, store: Store) -> None:
        super().__init__(name, store)
        self.level = "full" if name == "omniq-full" else "normal"
        self.durability = _DURABILITY[store.kind].format(self.level, self.level.upper())
        self.url = _URLS.get(store.kind, store.url).format(store.directory)
        self.app = AsyncOmniQ(self.url, durability=self.level, secret=_SECRET)

    async def open(self) -> None:
        await self.app.open()
        omniq.set_current(self.app)

    async def close(self) -> None:
        await self.app.close()

    async def send(self, index: int) -> object:
        return await noop.enqueue(index)

    async def send_many(self, indexes: Sequence[int]) -> None:
        await noop.map(indexes)

    async def ask(self, index: int) -> object:
        return await (await noop.enqueue(index))

    def work(self, *, commits: str | None = None) -> None:
        """Run ``omniq worker``.

        Args:
            commits: A file to write the number of transactions to.
        """
        counter = CommitCounter() if commits is not None else None
        config = self.store.directory / "omniq.yaml"
        config.write_text(f"durability: {self.level}\nsecret: {_SECRET}\n")
        cli.main(["worker", "--url", self.url, "--config", str(config), "--import", "contenders.omniq_task"])
        if counter is not None and commits is not None:
            Path(commits).write_text(str(counter.commits))

    async def succeeded(self) -> int | None:
        return (await self.app.stats()).totals.get("succeeded", 0)


class CommitCounter:
    """Counts the transactions of all of this process's SQLite connections from now on."""

    def __init__(self) -> None:
        self.commits = 0
        self._connect = sqlite3.connect
        sqlite3.connect = self._connect_and_count  # type: ignore[assignment]

    def _connect_and_count(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._connect(*args, **kwargs)
        connection.set_trace_callback(self._count)
        return connection

    def _count(self, statement: str) -> None:
        self.commits += statement == "COMMIT"


CONTENDER = OmniQ
