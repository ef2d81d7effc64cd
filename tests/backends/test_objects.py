"""Files and buckets: what a task costs in requests, what a large backlog costs, and what upkeep leaves behind."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from msgspec.structs import replace
from omniq import AsyncOmniQ
from omniq.backends import objects_clock, objects_events, objects_state, objects_upkeep
from omniq.backends.files import FileDriver, Files
from omniq.backends.objects import ObjectDriver
from omniq.backends.objects_clock import BucketClock
from omniq.backends.objects_format import BLOBS, CHECKPOINTS, EVENTS, LOG, PARQUET, RUNS, Segment
from omniq.backends.objects_store import ObjectStore
from omniq.clock import SECOND, system_clock
from omniq.core.settlement import Ended, Succeeded
from omniq.errors import ConfigError, StoreIOError
from omniq.models.event import TaskEvent
from omniq.models.record import Append, EventFilter, Insert, Op, Record, Replace
from omniq.models.task import TaskSpec
from omniq.storage.queue import BaseTaskQueue
from omniq.storage.results import BaseResultStorage, StoredOutcome

from tests.servers import clouds, raw_files
from tests.servers.clouds import Cloud
from tests.servers.faults import FaultyProxy
from tests.servers.raw_objects import RawStore


def _record(key: str, body: bytes = b"body") -> Record:
    now = system_clock()
    return Record("task", key, "default", "pending", 0, now, None, 0, 1, now, now, None, body)


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"file:///{tmp_path}/store"


# --- what a task costs ---


@pytest.fixture(params=clouds.NAMES)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """A server of each kind."""
    return clouds.shared(request.param)


@pytest.fixture
async def proxy(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyProxy]:
    """On the way to the server, to count requests."""
    async with FaultyProxy(cloud.name, cloud.port) as proxy:
        for name, value in cloud.environment(proxy.port).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.mark.parametrize("tasks", [1, 500])
async def test_requests_from_enqueueing_to_the_result_are_few_however_many_tasks(
    cloud: Cloud, proxy: FaultyProxy, tasks: int
) -> None:
    spec = TaskSpec("f", b"arguments")
    async with cloud.driver_class(cloud.new_url()) as driver:
        queue = BaseTaskQueue(driver)
        await queue.enqueue(spec, "warm-up")
        await queue.claim("worker", 1, 30 * SECOND)
        proxy.requests()

        now = system_clock()
        records = [Record("task", f"{n:03}", "default", "pending", 0, now, None, 0, 1, now, now, None, b"") for n in
                   range(tasks)]  # fmt: skip
        assert await queue.put([await _enqueueable(record, spec) for record in records], spec) == [True] * tasks
        assert proxy.requests() == {"PUT": 1}

        claimed = await queue.claim("worker", tasks, 30 * SECOND)
        assert len(claimed) == tasks
        cost = proxy.requests()
        assert cost["PUT"] == 1
        assert cost.total() <= 2, "a look for paused queues, and the claim"

        ended = [Ended(each, Succeeded(b"42"), now, now) for each in claimed]
        assert await queue.settle_all(queue.settlements(ended, "worker")) == [True] * tasks
        assert proxy.requests() == {"PUT": 1}

        outcomes = await BaseResultStorage(driver).outcomes([record.key for record in records])
        assert all(isinstance(outcome, StoredOutcome) for outcome in outcomes)
        assert proxy.requests().total() <= 2


async def _enqueueable(record: Record, spec: TaskSpec) -> Record:
    from omniq.core import lifecycle

    return lifecycle.enqueue(record.key, "default", 0, spec, record.created_at, record.created_at, None)


async def test_large_bodies_are_objects_of_their_own_and_go_with_their_records(
    cloud: Cloud, proxy: FaultyProxy
) -> None:
    async with cloud.driver_class(cloud.new_url()) as driver:
        await driver.write([Insert(_record("warm-up"))])
        proxy.requests()
        assert await driver.write([Insert(_record("a", b"x" * 100_000))]) == [True]
        assert proxy.requests() == {"PUT": 2}
        (read,) = await driver.get([("task", "a")])
        assert read is not None
        assert read.body == b"x" * 100_000
        assert proxy.requests() == {"GET": 2}
        done: Op = Replace(Record(*(*_fields(read)[:3], "done", 0, None, *_fields(read)[6:])), read)
        assert await driver.write([done]) == [True]
        assert proxy.requests() == {"PUT": 1}, "a body that stays as it is is not written again"


def _fields(record: Record) -> list[Any]:
    return [getattr(record, name) for name in Record.__struct_fields__]


async def test_large_body_of_another_version_is_not_taken_for_the_one_that_is_replaced(tmp_path: Path) -> None:
    here, there = f"file:///{tmp_path}/store", f"file:///{tmp_path}/../{tmp_path.name}/store"
    # Two replicas, as two processes have them.
    async with FileDriver(here) as driver, FileDriver(there) as behind:
        assert driver._replica is not behind._replica
        large, first = b"x" * 5000, _record("a", b"x" * 5000)
        assert await driver.write([Insert(first)]) == [True]
        assert await behind.get([("task", "a")]) == [first]
        for body in (b"other", large):
            (previous,) = await driver.get([("task", "a")])
            assert previous is not None
            assert await driver.write([Replace(replace(previous, body=body), previous)]) == [True]
        (previous,) = await driver.get([("task", "a")])
        assert previous is not None
        assert await behind.write([Replace(replace(previous, state="done"), previous)]) == [True]
        for each in (driver, behind):
            (read,) = await each.get([("task", "a")])
            assert read is not None
            assert (read.state, read.version, read.body) == ("done", 4, large)
    assert len(list((raw_files.root_of(here) / "blobs").iterdir())) == 1


# --- a large backlog ---


async def test_claim_from_a_large_backlog_costs_what_one_from_a_small_one_does(
    tmp_path: Path, count_lines: Any
) -> None:
    lines = {1_000: 0, 100_000: 0}
    drivers = {n: FileDriver(f"file:///{tmp_path}/{n}") for n in lines}
    for n, driver in drivers.items():
        await driver.open()
        for start in range(0, n, 10_000):
            records = [_record(f"{start + k:06}") for k in range(min(n, 10_000))]
            assert all(await driver.write([Insert(record) for record in records]))
        await driver._upkeep.finish()
    for _ in range(20):
        for n, driver in drivers.items():
            with count_lines() as counter:
                assert len(await driver.claim("task", None, "worker", 10, 30 * SECOND)) == 10
            lines[n] += counter.count
    for driver in drivers.values():
        await driver.close()
    assert 0 < lines[100_000] < 1.5 * lines[1_000]


# --- upkeep ---


@pytest.fixture
def eager_upkeep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_upkeep, "COMMITS_PER_CHECKPOINT", 5)
    monkeypatch.setattr(objects_upkeep, "EVENTS_PER_SEGMENT", 10)
    monkeypatch.setattr(objects_upkeep, "SEGMENTS_PER_PARQUET", 4)
    monkeypatch.setattr(objects_state, "MARK_SECONDS", 0.0)
    for store in (Files, ObjectStore):
        monkeypatch.setattr(store, "grace", 0.0)


@pytest.fixture(params=["files", *clouds.NAMES])
def new_driver(
    request: pytest.FixtureRequest, file_url: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], ObjectDriver]:
    """Makes drivers of one store, of each kind."""
    if request.param == "files":
        return functools.partial(FileDriver, file_url)
    cloud = clouds.shared(request.param)
    for name, value in cloud.environment(cloud.port).items():
        monkeypatch.setenv(name, value)
    return functools.partial(cloud.driver_class, cloud.new_url())


@asynccontextmanager
async def _store_of(driver: ObjectDriver) -> AsyncIterator[ObjectStore]:
    """Its objects."""
    store = driver.make_store()
    await store.open(create=False)
    yield store
    await store.close()


async def _names(store: ObjectStore, prefix: str) -> list[str]:
    names: list[str] = []
    while page := await store.names(prefix, names[-1] if names else ""):
        names += page
    return names


@pytest.mark.usefixtures("eager_upkeep")
async def test_old_events_become_parquet_files_that_are_queried_like_the_others(
    new_driver: Callable[[], ObjectDriver],
) -> None:
    kinds = ("task.enqueued", "task.started", "task.succeeded")
    events = [TaskEvent(n * SECOND, kinds[n % 3], f"{n % 7}", queue="io" if n % 2 else "cpu") for n in range(300)]
    async with new_driver() as driver:
        _, start = await driver.log_end()
        for n in range(0, 300, 3):
            assert await driver.write([Append(tuple(events[n : n + 3]))]) == [True]
    async with _store_of(new_driver()) as store:
        files = [await store.get(name) for name in await _names(store, EVENTS) if name.endswith(PARQUET)]
    assert files, "no Parquet file was made"
    assert sum(len(pl.read_parquet(data or b"")) for data in files) >= 4 * 10
    async with new_driver() as driver:
        match = EventFilter(task_id="3", types=("task.s*",), since=20 * SECOND, until=250 * SECOND)
        found = await driver.query(EventFilter(task_id="3", types=("task.started",), queue="io", since=20 * SECOND))
        expected = [e for e in events if (e.task_id, e.event_type, e.queue) == ("3", kinds[1], "io")]
        assert found["ts"] == [event.ts for event in expected if event.ts >= 20 * SECOND]
        assert (await driver.query(match))["ts"] == []
        assert (await driver.query(EventFilter(limit=4)))["ts"] == [n * SECOND for n in range(296, 300)]
        read, end = await driver.read_log(start, 1000)
        assert read == events
        assert await driver.trim_log(100 * SECOND) == 100
        assert (await driver.query(EventFilter(types=("task.*",))))["ts"] == [n * SECOND for n in range(100, 300)]
        assert await driver.read_log(end) == ([], end)


@pytest.mark.usefixtures("eager_upkeep")
@pytest.mark.parametrize("error", [ImportError("no polars"), ValueError("it\nfails"), StoreIOError("a", "disk")])
async def test_checkpoints_are_taken_though_events_can_not_be_merged(
    file_url: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> bytes:
        raise error

    monkeypatch.setattr(objects_upkeep, "to_parquet", fail)
    root = raw_files.root_of(file_url)
    events = [TaskEvent(n * SECOND, "task.started", f"{n}") for n in range(300)]
    async with FileDriver(file_url) as driver:
        for n in range(0, 300, 3):
            assert await driver.write([Append(tuple(events[n : n + 3]))]) == [True]
            if n > 280:  # what becomes due while one is being taken is left to the next
                await driver._upkeep.finish()
        assert (await driver.query(EventFilter()))["ts"] == [event.ts for event in events]
    (checkpoint,) = (root / "checkpoints").iterdir()
    assert int(checkpoint.name) > 90
    assert sum(path.is_file() for path in (root / "log").rglob("*")) < 60
    complaints = [record.getMessage() for record in caplog.records]
    assert all("events stay as they are" in each and "\n" not in each for each in complaints)
    assert len(complaints) == 1 or isinstance(error, StoreIOError)


@pytest.mark.usefixtures("eager_upkeep")
async def test_query_asks_for_the_segments_that_may_hold_what_it_wants_side_by_side(
    cloud: Cloud, proxy: FaultyProxy
) -> None:
    async with cloud.driver_class(cloud.new_url()) as driver:
        for n in range(0, 300, 3):
            events = tuple(TaskEvent(k * SECOND, "task.started", f"{k:03}") for k in range(n, n + 3))
            assert await driver.write([Append(events)]) == [True]
            await driver._upkeep.finish()
        segments = driver._replica.state.segments
        assert len(segments) > 4

        proxy.requests()
        proxy.most = 0
        assert len((await driver.query(EventFilter()))["ts"]) == 300
        assert proxy.requests()["GET"] == len(segments) + 1, "each once, and a look for what others have written"
        assert proxy.most > 1, "one after the other"

        (seventh,) = (await driver.query(EventFilter(task_id="007")))["ts"]
        assert proxy.requests()["GET"] == 1 + 1, "ids grow with time, so one segment may hold it; and the look"
        match = EventFilter(since=seventh - 2 * SECOND, until=seventh + 2 * SECOND)
        assert len((await driver.query(match))["ts"]) == 4
        assert proxy.requests()["GET"] <= 2 + 1, "the segments around it, and the look"

        assert (await driver.query(EventFilter(limit=1)))["ts"] == [299 * SECOND]
        assert proxy.requests()["GET"] <= 1 + 1, "the youngest, if the event is in a segment at all, and the look"


def test_segments_of_earlier_versions_may_hold_any_task() -> None:
    earlier = msgspec.convert(["segments/a", 0, 9, 5, 6], Segment)
    assert objects_events._may_hold(earlier, EventFilter(task_id="3"))
    of_workers = replace(earlier, min_task="", max_task="")
    assert not objects_events._may_hold(of_workers, EventFilter(task_id="3"))
    assert objects_events._may_hold(of_workers, EventFilter())


@pytest.mark.parametrize(
    "match",
    [
        EventFilter(task_id="3"),
        EventFilter(since=2, until=7),
        EventFilter(types=("task.failed", "task.s*"), queue="io", schedule_id="daily"),
    ],
)
def test_conditions_are_checked_where_a_parquet_file_is_read(match: EventFilter) -> None:
    data = objects_events.to_parquet([(n, TaskEvent(n, "task.started", f"{n}")) for n in range(10)])
    plan = objects_events.scan_of(data, match).explain()
    assert "SELECTION" in plan, "what does not match becomes rows"
    assert "FILTER" not in plan, "there is a condition left over for after the scan"


@pytest.mark.usefixtures("eager_upkeep")
async def test_what_is_over_is_deleted(new_driver: Callable[[], ObjectDriver]) -> None:
    async with new_driver() as driver:
        for n in range(60):
            assert await driver.write([Insert(_record(f"{n}", b"x" * 3000))]) == [True]
            (held,) = await driver.claim("task", None, "worker", 1, 30 * SECOND)
            assert await driver.write([Replace(Record(*(*_fields(held)[:12], b"small")), held)]) == [True]
    async with _store_of(new_driver()) as store:
        counts = {prefix: len(await _names(store, prefix)) for prefix in (LOG, CHECKPOINTS, BLOBS)}
        assert counts[CHECKPOINTS] == 1
        assert counts[LOG] < 60
        assert counts[BLOBS] == 0
        names = [name for prefix in (LOG, CHECKPOINTS, RUNS) for name in await _names(store, prefix)]
        assert len(RawStore({name: await store.get(name) or b"" for name in names}).rows) == 60


@pytest.mark.usefixtures("eager_upkeep")
async def test_objects_that_nobody_names_are_swept_up_after_a_day(
    new_driver: Callable[[], ObjectDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_upkeep, "_CHECKPOINTS_PER_SWEEP", 1)
    day_ago, now = (system_clock() - 90_000 * SECOND) // 1000, system_clock() // 1000
    async with new_driver() as driver, _store_of(new_driver()) as store:
        old, young = (f"{BLOBS}{moment:012x}{'0' * 12}-{'0' * 32}" for moment in (day_ago, now))
        for name in (old, young):
            assert await store.create(name, b"left behind")
        for n in range(12):
            assert await driver.write([Insert(_record(f"{n}"))]) == [True]
        await driver._upkeep.finish()
        assert await _names(store, BLOBS) == [young]


# --- a bucket's clock ---


class _Clocks:
    """A machine's clock and a store's, in microseconds, and how long the way to the store is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uptime, self.machine_s, self.store_s, self.way = 0, 1_000 * SECOND, 1_000 * SECOND, 0
        monkeypatch.setattr(objects_clock, "uptime", lambda: self.uptime)
        monkeypatch.setattr(objects_clock, "system_clock", lambda: self.uptime + self.machine_s)

    @property
    def now(self) -> int:
        return self.uptime + self.store_s

    async def ask(self) -> int:
        self.uptime += self.way
        return self.now


async def test_clock_is_compared_again_when_it_was_set_and_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = _Clocks(monkeypatch)
    clock = BucketClock()
    assert clock.is_doubtful
    clock.begin(clocks.now)
    assert not clock.is_doubtful
    clocks.machine_s += 3600 * SECOND
    assert clock.is_doubtful
    assert clock() == clocks.now
    clocks.store_s -= 5 * SECOND  # what the machine can't know
    await clock.learn(clocks.ask)
    assert not clock.is_doubtful
    assert clock() == clocks.now
    clocks.uptime += 601 * SECOND
    assert clock.is_doubtful


async def test_slow_answer_says_nothing_about_a_clock_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = _Clocks(monkeypatch)
    clock = BucketClock()
    clocks.way = 10 * SECOND
    await clock.learn(clocks.ask)
    assert clock() == clocks.now


async def test_difference_at_the_end_of_a_long_opening_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = _Clocks(monkeypatch)
    clock, then = BucketClock(), clocks.now
    clocks.uptime += 30 * SECOND
    clock.begin(then)
    assert clock.is_doubtful
    await clock.learn(clocks.ask)
    assert clock() == clocks.now
    clock.begin(then)  # a clone's
    assert clock() == clocks.now


async def test_clock_of_a_store_that_does_not_tell_the_time_is_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = _Clocks(monkeypatch)
    clock = BucketClock()
    clock.begin(None)
    assert not clock.is_doubtful
    assert clock() == clocks.now


# --- the URL ---


async def test_namespaces_separate_stores_at_one_place(file_url: str) -> None:
    async with FileDriver(file_url) as one, FileDriver(f"{file_url}?namespace=two") as two:
        assert await one.write([Insert(_record("a"))]) == [True]
        assert await two.count("task") == {}
        assert await two.write([Insert(_record("a"))]) == [True]


@pytest.mark.parametrize("query", ["namspace=x", "namespace=", "namespace=a/b", "create=yes", "create"])
def test_url_that_says_something_else_is_refused(file_url: str, query: str) -> None:
    with pytest.raises(ConfigError):
        FileDriver(f"{file_url}?{query}")


async def test_path_may_hold_any_characters(tmp_path: Path) -> None:
    async with AsyncOmniQ(f"file:///{tmp_path}/a%20b%23c", secret="a secret of enough bytes") as app:
        await app.enqueue("f")
    assert (tmp_path / "a b#c" / "omniq" / "log").is_dir()
