"""Queue, results, events, schedules and large values each on another store, and processes that die between any two
writes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from omniq import AsyncOmniQ, TaskNotFoundError, TaskStatus
from omniq.backends.registry import make_driver
from omniq.clock import SECOND, to_datetime
from omniq.core.settlement import Claimed
from omniq.models.record import Filter
from omniq.models.result import RESULT
from omniq.models.schedule import Schedule, ScheduleStatus, ScheduleType
from omniq.models.task import TASK
from omniq.models.worker import WorkerType
from omniq.parts import Parts
from omniq.registry import Registry
from omniq.storage.driver import Driver
from omniq.storage.endings import each_of
from omniq.storage.large import LOOK, UNTOUCHED, VALUE, arguments_key
from omniq.storage.maintenance import Maintenance
from omniq.testing.clock import FakeClock
from omniq.workers.attempt import Attempts
from omniq.workers.executors import executor_for

from .conftest import SECRET, URLS

ROLES = ("queue", "results", "events", "schedules", "large_values")
STORES = ("sqlite", "s3", "redis", "azure", "postgres", "google", "nats", "file")
# Every store in every role, and no two roles of a set-up on the same one.
ROUND = [tuple(STORES[(first + step) % len(STORES)] for step in (0, 1, 3, 5, 6)) for first in range(len(STORES))]
# Other pairs of queue and results; two roles that share a store; and two stores for all.
OTHERS = [
    ("postgres", "redis", "sqlite", "file", "nats"),
    ("redis", "postgres", "file", "nats", "sqlite"),
    ("nats", "sqlite", "redis", "postgres", "file"),
    ("file", "nats", "postgres", "sqlite", "redis"),
    ("sqlite", "file", "sqlite", "sqlite", "file"),
    ("redis", "sqlite", "redis", "redis", "redis"),
    ("redis", "redis", "sqlite", "redis", "redis"),
    ("postgres", "postgres", "postgres", "postgres", "sqlite"),
    ("nats", "postgres", "postgres", "nats", "nats"),
]
PAIRS = {names[:2] for names in ROUND + OTHERS if names[0] != names[1]}

LARGE = "x" * 2000
DAY = UNTOUCHED // SECOND
LEASE = 30


def test_the_set_ups_are_what_they_should_be() -> None:
    assert len(PAIRS) >= 12
    for role, names in zip(ROLES, zip(*ROUND, strict=True), strict=True):
        assert sorted(names) == sorted(STORES), f"not every store is {role}"
    assert all(len(set(names)) == len(ROLES) for names in ROUND)


class Died(BaseException):
    """The process is dead."""


class World:
    """Stores whose drivers outlive the apps over them, and a clock that the test moves.

    An app that dies is one of whose drivers' calls none is answered any more, from some write on; nothing of what it
    had in memory is used again.

    Attributes:
        clock: Everybody's.
        app: The one that lives now.
        once: Arguments that are to make `double` raise the next time.
    """

    def __init__(self, urls: dict[str, str], clock: FakeClock) -> None:
        self.clock = clock
        self.once: set[str] = set()
        self._urls = urls
        self._drivers: dict[str, Driver] = {}
        self._functions = Registry()  # the workers' own: who enqueues knows the name
        self._writes_left: int | None = None
        self.app: AsyncOmniQ

    def driver(self, url: str, **settings: Any) -> Driver:
        """The one driver of a store."""
        if url not in self._drivers:
            driver = self._drivers[url] = make_driver(url, **{**settings, "clock": self.clock})
            for name in ("get", "scan", "claim", "write"):
                setattr(driver, name, self._mortal(name, getattr(driver, name)))
        return self._drivers[url]

    def _mortal(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def answer(*args: Any, **kwargs: Any) -> Any:
            if self._writes_left is None:
                return await call(*args, **kwargs)
            if self._writes_left < 0 or (name == "write" and args[0] and not self._writes_left):
                self._writes_left = -1
                raise Died
            self._writes_left -= name == "write" and bool(args[0])
            return await call(*args, **kwargs)

        return answer

    async def open(self) -> None:
        self._functions.add("double", self._double)
        self.be_born()
        for driver in self._drivers.values():
            await driver.open()

    async def _double(self, text: str) -> str:
        if text in self.once:
            self.once.discard(text)
            raise ValueError("once")
        if text.startswith("never"):
            raise ValueError("never")
        return text * 2

    async def close(self) -> None:
        """Let go of the stores."""
        await each_of(*(driver.close for driver in self._drivers.values()))

    def be_born(self) -> None:
        """A new process, with nothing in its memory."""
        self._writes_left = None
        self.app = AsyncOmniQ(secret=SECRET, retry_delay=0.0, lease=LEASE, large_value_bytes=1000, **self._urls)
        self.app._parts = Parts(self.app.config, self._functions)

    @property
    def parts(self) -> Parts:
        assert self.app._parts is not None
        return self.app._parts

    async def dies_in(self, operation: Callable[[], Awaitable[object]], writes: int) -> bool:
        """Carry out an operation, and die before the write after so many; says whether it came to that."""
        self._writes_left = writes
        try:
            await operation()
        except Died:
            return True
        finally:
            self.be_born()
        return False

    async def enqueue(self, name: str, **options: Any) -> None:
        await self.app.enqueue("double", [name + LARGE], queue=name, task_id=name, **options)

    async def claim(self, name: str) -> Claimed:
        (claimed,) = await self.parts.queue.claim("doomed", 1, LEASE * SECOND, [name])
        return claimed

    async def settle(self, claimed: Claimed) -> None:
        """What a worker does once it has claimed a task."""
        parts = self.parts
        executor = executor_for(WorkerType.ASYNC, 1, lambda: None)
        outcome = await Attempts(parts.functions, parts.serializer, executor, parts.large).run(claimed)
        executor.close()
        assert await parts.queue.settle(claimed, outcome, worker="doomed", started_at=self.clock())

    async def run(self, name: str, **options: Any) -> None:
        await self.enqueue(name, **options)
        await self.settle(await self.claim(name))

    async def maintain(self) -> None:
        parts = self.parts
        await Maintenance(parts.queue, parts.results.driver, parts.events.driver).sweep()

    async def status(self, name: str) -> str | None:
        """A task's status, once it is sure that nobody is told a wrong outcome."""
        try:
            result = await self.app.get_result(name)
        except TaskNotFoundError:
            with pytest.raises(TaskNotFoundError):
                await self.app.get_task(name)
            return None
        if result is not None and result.status is TaskStatus.SUCCEEDED:
            assert result.value == (name + LARGE) * 2
        if result is not None and result.status is TaskStatus.FAILED:
            assert result.error in ("once", "never")
        return (await self.app.get_task(name)).status.value

    async def all_there_is(self) -> dict[str, list[str]]:
        stores = {TASK: self.parts.queue, RESULT: self.parts.results, VALUE: self.parts.large, LOOK: self.parts.large}
        pages = {kind: await store.driver.scan(Filter(kind=kind), limit=500) for kind, store in stores.items() if store}
        return {kind: [record.key for record in page.records] for kind, page in pages.items() if page.records}


class Operation(NamedTuple):
    """What may be broken off.

    Attributes:
        ready: What has to be there before: gives the operation itself.
        ends: What its task may have come to when others have gone on; ``None``: it is not there.
        writes: How many there are at least where each role has a store of its own.
    """

    ready: Callable[[World, str], Awaitable[Callable[[], Awaitable[object]]]]
    ends: set[str | None]
    writes: int


async def _enqueue(world: World, name: str) -> Callable[[], Awaitable[object]]:
    return lambda: world.enqueue(name)


async def _settle(world: World, name: str) -> Callable[[], Awaitable[object]]:
    await world.enqueue(name)
    claimed = await world.claim(name)
    return lambda: world.settle(claimed)


async def _try_again(world: World, name: str) -> Callable[[], Awaitable[object]]:
    world.once.add(name + LARGE)
    return await _settle(world, name)


async def _cancel(world: World, name: str) -> Callable[[], Awaitable[object]]:
    await world.enqueue(name)
    return lambda: world.app.cancel_task(name)


async def _replay(world: World, name: str) -> Callable[[], Awaitable[object]]:
    world.once.add(name + LARGE)
    await world.run(name, max_retries=0)
    return lambda: world.app.retry_task(name)


async def _purge(world: World, name: str) -> Callable[[], Awaitable[object]]:
    await world.run(name)
    return lambda: world.app.queues.purge(name)


async def _purge_waiting(world: World, name: str) -> Callable[[], Awaitable[object]]:
    await world.enqueue(name)
    return lambda: world.app.queues.purge(name, status="pending")


async def _expire(world: World, name: str) -> Callable[[], Awaitable[object]]:
    await world.enqueue(name, ttl=1)
    world.clock.advance(2)
    return world.maintain


async def _delete(world: World, name: str) -> Callable[[], Awaitable[object]]:
    await world.run(name, result_ttl=1)
    world.clock.advance(2)
    return world.maintain


async def _find_lost(world: World, name: str) -> Callable[[], Awaitable[object]]:
    assert world.parts.large is not None
    await world.parts.large.offload(LARGE.encode(), arguments_key(name, world.clock()))
    world.clock.advance(timedelta(days=2))
    return world.maintain


OPERATIONS = {
    "enqueue": Operation(_enqueue, {None, "succeeded"}, 3),
    "settle": Operation(_settle, {"succeeded"}, 4),
    "never": Operation(_settle, {"pending", "failed"}, 2),
    "again": Operation(_try_again, {"succeeded"}, 2),
    "cancel": Operation(_cancel, {"cancelled", "succeeded"}, 2),
    "replay": Operation(_replay, {"failed", "succeeded"}, 2),
    "purge": Operation(_purge, {None, "succeeded"}, 4),
    "waiting": Operation(_purge_waiting, {None, "succeeded"}, 3),
    "expire": Operation(_expire, {"expired"}, 2),
    "delete": Operation(_delete, {None}, 4),
    "lost": Operation(_find_lost, {None}, 1),
}


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    stores = {name: URLS[name](tmp_path) for name in set(request.param)}
    world = World({role: stores[name] for role, name in zip(ROLES, request.param, strict=True)}, FakeClock())
    monkeypatch.setattr("omniq.parts.make_driver", world.driver)
    await world.open()
    yield world
    await world.close()


@pytest.mark.parametrize("world", ROUND + OTHERS, indirect=True, ids="-".join)
async def test_a_process_that_dies_between_any_two_writes_costs_nothing(world: World) -> None:
    await world.run("first")  # what is written once, by whoever comes first
    tasks: dict[str, set[str | None]] = {"first": {"succeeded"}}
    for operation, (ready, ends, least) in OPERATIONS.items():
        for writes in itertools.count():
            name = f"{operation}-{writes}"
            died = await world.dies_in(await ready(world, name), writes)
            tasks[name] = ends
            status = await world.status(name)
            if not died:
                break
            if not writes and operation == "purge":
                assert status == "succeeded", "nothing was written, and it is gone"
        if world.parts.queue.driver.url not in (world.parts.results.driver.url, world.parts.events.driver.url):
            assert writes >= least, f"there are fewer writes of {operation} to die between than there should be"

    world.clock.advance(2 * LEASE)
    await world.maintain()
    async with world.app.workers() as pool:
        await pool.drain(delayed=True)
    there = {name: await world.status(name) for name in tasks}
    assert {name: status for name, status in there.items() if status not in tasks[name]} == {}
    stored = (await world.all_there_is())[TASK]
    assert set(stored) == {name for name, status in there.items() if status}, "a deletion was not finished"
    succeeded = (await world.app.events(types="task.succeeded"))["task_id"].to_list()
    assert len(succeeded) == len(set(succeeded)), "a task has ended twice"

    await world.app.purge(status=[status for status in TaskStatus if status.is_final])
    world.clock.advance(timedelta(days=30))
    await world.maintain()
    assert await world.all_there_is() == {}, "something was left behind"


@pytest.mark.parametrize("world", ROUND, indirect=True, ids="-".join)
async def test_schedules_are_where_they_should_be(world: World) -> None:
    now = to_datetime(world.clock())
    made = Schedule(
        id="s", func="double", schedule_type=ScheduleType.INTERVAL, interval=60, created_at=now, next_run_at=now
    )
    assert await world.parts.schedules.add(made)
    world.be_born()
    schedules = world.parts.schedules
    assert schedules.driver.url == world.app.config.schedules
    await schedules.change("s", lambda each: msgspec.structs.replace(each, status=ScheduleStatus.PAUSED))
    assert [each.status for each in await schedules.list_schedules()] == [ScheduleStatus.PAUSED]
    assert await schedules.delete("s")


# --- real processes ---


CRASHING_WORKER = Path(__file__).parent / "support" / "crashing_worker.py"
DIED = 9
# Queue, results, events.
KILLED = [
    ("sqlite", "redis", "nats"),
    ("redis", "postgres", "file"),
    ("postgres", "file", "postgres"),
    ("nats", "sqlite", "redis"),
]


@pytest.mark.parametrize("names", KILLED, ids="-".join)
async def test_workers_that_are_killed_between_two_writes_lose_nothing(
    names: tuple[str, str, str], make_app: Any, children: Any, tmp_path: Path
) -> None:
    urls: dict[str, str] = {}
    for name in names:
        urls.setdefault(name, URLS[name](tmp_path))
    queue, results, events = (urls[name] for name in names)
    stores = {"queue": queue, "results": results, "events": events, "schedules": queue}
    app: AsyncOmniQ = make_app(None, lease=1, secret=SECRET, **stores)

    @app.task
    def double(n: int) -> int:
        return 2 * n

    group = await double.map(range(8))
    variables = {f"OMNIQ_{name.upper()}": url for name, url in stores.items()} | {"OMNIQ_LEASE": "1"}
    doomed = [children.python(str(CRASHING_WORKER), str(point), **variables) for point in range(4)]
    for child in doomed:
        assert await asyncio.to_thread(child.wait, 60) == DIED

    async with app.workers():
        assert await group == [2 * n for n in range(8)]
    assert (await app.stats()).totals == {"succeeded": 8}
    tasks = (await app.list_tasks(status=TaskStatus.SUCCEEDED)).tasks
    parts = await app._ready()
    named = await parts.results.driver.get([(RESULT, f"{task.id}.{task.attempt}") for task in tasks])
    assert None not in named, "a task names a result that is not there"
    # Two of the four died before a task was written; each may have held a second one too.
    assert sum(task.attempt > 1 for task in tasks) >= 2
    # An event may be lost with the worker that was about to write it, but none is made up.
    succeeded = (await app.events(types="task.succeeded"))["task_id"].to_list()
    assert len(succeeded) == len(set(succeeded)) >= 7

    assert await app.purge() == 8
    assert (await parts.results.driver.scan(Filter(kind=RESULT))).records == [], "a result was left behind"


async def test_components_say_where_they_are(make_app: Any, tmp_path: Path) -> None:
    app: AsyncOmniQ = make_app(
        None,
        secret=SECRET,
        **{
            name: URLS[store](tmp_path)
            for name, store in zip(
                ("queue", "results", "events", "schedules"), ("redis", "postgres", "file", "nats"), strict=True
            )
        },
    )
    health = await app.health()
    assert health.ok, health
    assert [each.backend for each in health.components] == ["Redis", "PostgreSQL", "Files", "NATS JetStream"]
