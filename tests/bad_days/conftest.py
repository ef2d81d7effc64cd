"""Worker processes for the tests, and a look into their store that bypasses the code under test."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from omniq import AsyncOmniQ
from omniq.clock import SECOND
from omniq.models.event import TaskEvent
from omniq.models.record import Filter
from omniq.testing.harness import scan_all

from tests.servers.process import Server

SUPPORT = Path(__file__).parent / "support"


class Store:
    """The SQLite file, read with plain SQL."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, timeout=60)) as connection:
            return connection.execute(sql, values).fetchall()

    def states(self) -> dict[str, int]:
        """How many tasks are in each state, by counting them."""
        return dict(self.rows("SELECT state, count(*) FROM records WHERE kind = 'task' GROUP BY state"))

    def events(self) -> dict[str, list[str | None]]:
        """The ids of the tasks that have an event, by its type."""
        found: dict[str, list[str | None]] = defaultdict(list)
        for (body,) in self.rows("SELECT body FROM events ORDER BY first"):
            for event in msgspec.msgpack.decode(body, type=list[TaskEvent]):
                found[event.event_type].append(event.task_id)
        return found

    def can_write(self) -> bool:
        """Whether nobody holds the write lock."""
        with closing(sqlite3.connect(self.path, timeout=1, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
            return True

    def assert_each_ended_once(self, task_ids: list[str]) -> None:
        """Every task is there and succeeded, by exactly one accepted completion, with the result of its last
        attempt.
        """
        tasks = {
            key: rest for key, *rest in self.rows("SELECT key, state, claims, version FROM records WHERE kind = 'task'")
        }
        assert set(tasks) == set(task_ids), "tasks were lost or made up"
        assert {state for state, _, _ in tasks.values()} == {"succeeded"}
        events = self.events()
        assert Counter(events["task.succeeded"]) == Counter(task_ids), "a completion was accepted twice, or none"
        released = Counter(events["task.released"])
        # Every accepted write adds one to the version: the insertion, each claim, each handing back, and one
        # completion.
        for key, (_, claims, version) in tasks.items():
            assert version == 1 + claims + released[key] + 1
        results = Counter(key for (key,) in self.rows("SELECT key FROM records WHERE kind = 'result'"))
        assert results == Counter(f"{key}.{claims}" for key, (_, claims, _) in tasks.items())
        counted = dict(
            self.rows("SELECT state, sum(n) FROM counters WHERE kind = 'task' GROUP BY state HAVING sum(n) <> 0")
        )
        assert counted == self.states(), "the counters have lost step"
        assert self.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.fixture
def store(sqlite_url: str) -> Store:
    """The file behind `sqlite_url`."""
    return Store(Path(sqlite_url.removeprefix("sqlite:///")))


StartWorker = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(children: Any) -> StartWorker:
    """Starts ``omniq worker`` processes that know the chores; their machine's clock may be wrong by some seconds."""

    def start(
        url: str, *arguments: str, lease: float = 2.0, off: float = 0.0, **environment: str
    ) -> subprocess.Popen[str]:
        return children.worker(
            url, "--import", "wrong_clock,chores", "--lease", str(lease), *arguments, cwd=SUPPORT,
            OMNIQ_POLL_INTERVAL="0.2", OMNIQ_RETRY_DELAY="0", CLOCK_IS_OFF_BY=str(off), **environment,
        )  # fmt: skip

    return start


@pytest.fixture
def start_worker(start: StartWorker, sqlite_url: str) -> StartWorker:
    """Starts them on `sqlite_url`."""

    def start_there(*arguments: str, lease: float = 1.0, **environment: str) -> subprocess.Popen[str]:
        return start(sqlite_url, *arguments, lease=lease, **environment)

    return start_there


async def assert_each_ended_once(app: AsyncOmniQ, task_ids: list[str]) -> None:
    """By exactly one accepted completion, and every accepted write is accounted for; nothing is left to claim."""
    assert (await app.stats()).totals == {"succeeded": len(task_ids)}
    completions = Counter((await app.events(types="task.succeeded"))["task_id"].to_list())
    assert completions == Counter(task_ids), "a completion was accepted twice, or none"
    released = Counter((await app.events(types="task.released"))["task_id"].to_list())
    driver = (await app._ready()).queue.driver
    records = await scan_all(driver, Filter(kind="task"), limit=500)
    assert {record.key for record in records} == set(task_ids)
    for record in records:
        # Every accepted write adds one: the insertion, each claim, each handing back, and one completion.
        assert record.version == 1 + record.claims + released[record.key] + 1
    assert await driver.claim("task", None, "nobody", 10, SECOND) == []


def assert_one_line(error: BaseException, *words: str) -> None:
    """It says all in one line, with these words and without the password."""
    message = str(error)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert "hunter2" not in message


def pids(notes: Path) -> list[str]:
    """Who has begun a task, one each time."""
    return [line.split()[1] for line in notes.read_text().splitlines()] if notes.exists() else []


@pytest.fixture
def notes(tmp_path: Path) -> Any:
    """The file in which tasks note that they began: ``notes.path``, and ``notes.read()`` as (n, pid) pairs."""

    class Notes:
        path = tmp_path / "notes"

        def read(self) -> list[tuple[int, int]]:
            if not self.path.exists():
                return []
            lines = [line.split() for line in self.path.read_text().splitlines()]
            return [(int(n), int(pid)) for n, pid in lines]

    return Notes()


Outlive = Callable[[str, Server], Awaitable[None]]


@pytest.fixture
def outlive(make_app: Any, start: StartWorker, notes: Any, until: Any, children: Any) -> Outlive:
    """A run in the middle of which the server is killed, twice: no task is lost, and the workers go on."""

    async def outlive(url: str, server: Server) -> None:
        app: AsyncOmniQ = make_app(url)
        await app.open()
        workers = [start(url, "--concurrency", "10") for _ in range(2)]

        async def both_are_there() -> bool:
            return len((await app.stats()).workers) == 2

        await until(both_are_there)  # one alone might be done before the other has begun
        handles = [await app.enqueue("step", args=(str(notes.path), n, 0.02)) for n in range(400)]
        for share in (0.2, 0.5):
            # Both of them have begun: each has something to lose.
            await until(lambda share=share: len(pids(notes.path)) >= share * 400 and len(set(pids(notes.path))) == 2)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(0.7)  # longer than calls are repeated
            await asyncio.to_thread(server.start)
        assert await app.group(handles) == list(range(400))
        await assert_each_ended_once(app, [handle.id for handle in handles])
        for worker in workers:
            said = children.output_of(worker)
            assert worker.poll() is None, "a worker did not outlive the server"
            assert "tries until it can" in said, "a worker did not notice that the server was away"
            assert "Traceback" not in said
        await app.close()

    return outlive


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if (
        sys.platform != "linux"
        or os.getuid() != 0
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root can mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
