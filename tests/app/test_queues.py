"""Looking after the queues: lists, dead letters, counts, pauses, purges, and the history as a frame."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from omniq import (
    AsyncOmniQ,
    Config,
    ConfigError,
    OptionError,
    Schedule,
    ScheduleStatus,
    ScheduleType,
    TaskNotFoundError,
    TaskStateError,
    TaskStatus,
)
from omniq.backends.registry import make_driver
from omniq.errors import NaiveDatetimeError, NotOpenError, StoreUnavailableError, UnknownBackendError
from omniq.models.event import TaskEvent
from omniq.models.record import Append, Insert, Record, Replace
from omniq.storage.workers import WorkerInfo


@pytest.fixture
async def filled(app: AsyncOmniQ) -> AsyncOmniQ:
    """Ten tasks: 4 succeeded, 2 failed, 1 cancelled, 3 pending (1 of them in another queue)."""

    @app.task(name="work", max_retries=0)
    async def work(n: int) -> int:
        if n > 3:
            raise ValueError(n)
        return n

    group = await work.map(range(6))
    async with app.workers() as pool:
        await group.settled()
        await pool.drain()
    await (await app.enqueue("later", delay=3600)).cancel()
    for _ in range(2):
        await app.enqueue("later", delay=3600)
    await app.enqueue("later", delay=3600, queue="other")
    return app


async def test_stats_count_by_queue_and_status(filled: AsyncOmniQ) -> None:
    stats = await filled.stats()
    assert stats.queues == {
        "default": {"succeeded": 4, "failed": 2, "cancelled": 1, "pending": 2},
        "other": {"pending": 1},
    }
    assert stats.totals == {"succeeded": 4, "failed": 2, "cancelled": 1, "pending": 3}
    assert (stats.paused, stats.workers) == (frozenset(), [])


@pytest.mark.parametrize("newest_first", [True, False])
async def test_list_pages_through_all_tasks_in_order(filled: AsyncOmniQ, newest_first: bool) -> None:
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await filled.list_tasks(limit=3, cursor=cursor, newest_first=newest_first)
        assert len(page.tasks) <= 3
        ids += [task.id for task in page.tasks]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(ids) == 10
    assert ids == sorted(ids, reverse=newest_first)


async def test_list_filters_by_queue_and_status(filled: AsyncOmniQ) -> None:
    async def count(**conditions: Any) -> int:
        return len((await filled.list_tasks(**conditions)).tasks)

    assert await count(queue="other") == 1
    assert await count(status=TaskStatus.FAILED) == 2
    assert await count(status="pending", queue="default") == 2
    assert await count(queue="nothing") == 0


@pytest.mark.parametrize(("conditions", "complaint"), [
    ({"status": "done"}, "no status 'done': the statuses are blocked, pending"),
    ({"limit": 0}, "limit must be at least 1, not 0"),
    ({"limit": -1}, "limit must be at least 1, not -1"),
])  # fmt: skip
async def test_impossible_list_is_refused(app: AsyncOmniQ, conditions: Any, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        await app.list_tasks(**conditions)


async def test_task_beyond_the_calendar_does_not_break_the_list(app: AsyncOmniQ) -> None:
    moment = datetime.max.replace(tzinfo=UTC)
    await app.enqueue("f", run_at=moment, ttl=3600)
    (task,) = (await app.list_tasks()).tasks
    assert (task.run_at, task.expires_at) == (moment, moment)


async def test_dead_letters_are_what_failed_with_its_error(filled: AsyncOmniQ) -> None:
    page = await filled.dead_letters()
    assert {task.error for task in page.tasks} == {"ValueError: 4", "ValueError: 5"}
    assert len((await filled.dead_letters(limit=1)).tasks) == 1
    await filled.retry_task(page.tasks[0].id)
    assert len((await filled.dead_letters()).tasks) == 1


async def test_only_what_may_be_is_cancelled_or_retried(filled: AsyncOmniQ) -> None:
    (succeeded, *_) = (await filled.list_tasks(status="succeeded")).tasks
    (waiting, *_) = (await filled.list_tasks(status="pending")).tasks
    with pytest.raises(TaskStateError, match="can't cancel task .*: it is succeeded"):
        await filled.cancel_task(succeeded.id)
    with pytest.raises(TaskStateError, match="can't retry task .*: it is succeeded"):
        await filled.retry_task(succeeded.id)
    with pytest.raises(TaskStateError, match="can't retry task .*: it is pending"):
        await filled.retry_task(waiting.id)
    assert await filled.cancel_tasks([succeeded.id, waiting.id, "nothing"]) == 1


async def test_purge_deletes_what_has_ended_well_and_keeps_the_dead_letters(filled: AsyncOmniQ) -> None:
    (done, *_) = (await filled.list_tasks(status="succeeded")).tasks
    assert await filled.purge() == 5
    assert (await filled.stats()).totals == {"failed": 2, "pending": 3}
    with pytest.raises(TaskNotFoundError):
        await filled.get_result(done.id)
    assert await filled.purge(status="failed") == 2
    assert await filled.purge(status=["pending"], queue="other") == 1
    assert (await filled.stats()).totals == {"pending": 2}


async def test_purge_spares_what_changed_lately(filled: AsyncOmniQ) -> None:
    assert await filled.purge(older_than=timedelta(hours=1)) == 0
    assert await filled.purge(older_than=0) == 5


async def test_running_tasks_cannot_be_purged_and_status_must_be_one(app: AsyncOmniQ) -> None:
    await app.enqueue("f")
    with pytest.raises(OptionError, match="running tasks can't be purged: cancel them first"):
        await app.purge(status=["pending", "running"])
    assert (await app.stats()).totals == {"pending": 1}
    assert await app.purge(status=[]) == 0
    with pytest.raises(OptionError, match="no status 'old'"):
        await app.purge(status="old")


async def test_pausing_twice_and_resuming_twice_is_fine(app: AsyncOmniQ) -> None:
    for _ in range(2):
        await app.pause_queue("io")
        assert (await app.stats()).paused == {"io"}
    for _ in range(2):
        await app.resume_queue("io")
        assert (await app.stats()).paused == frozenset()


# --- events ---


async def test_frame_has_its_columns_and_types_even_when_empty(app: AsyncOmniQ) -> None:
    frame = await app.events()
    assert dict(frame.schema) == {
        "ts": pl.Datetime("us", "UTC"),
        "event_type": pl.String,
        "task_id": pl.String,
        "func": pl.String,
        "queue": pl.String,
        "worker": pl.String,
        "attempt": pl.UInt16,
        "duration": pl.Float64,
        "schedule_id": pl.String,
        "data": pl.String,
    }
    assert frame.is_empty()


async def test_history_of_a_task_is_complete_and_in_order(app: AsyncOmniQ) -> None:
    @app.task(max_retries=1)
    async def fail() -> None:
        raise ValueError("x")

    async with app.workers() as pool:
        handle = await fail.enqueue()
        await handle.wait()
        await pool.drain()
    frame = await app.events(task_id=handle.id)
    assert frame["event_type"].to_list() == [
        "task.enqueued", "task.started", "task.failed", "task.retried", "task.started", "task.failed", "task.dead",
    ]  # fmt: skip
    assert frame["ts"].is_sorted()
    assert frame["attempt"].to_list() == [0, 1, 1, 1, 2, 2, 2]
    assert set(frame["func"]) == {"fail"}
    assert set(frame["queue"]) == {"default"}
    assert set(frame["worker"].drop_nulls()) == {pool.id}
    assert json.loads(frame["data"][2]) == {"error": "ValueError: x"}
    assert frame["duration"][2] is not None


async def test_frame_holds_also_an_attempt_beyond_its_column_s_type(app: AsyncOmniQ) -> None:
    async with make_driver(app.config.url) as driver:
        await driver.write(
            [Append((TaskEvent(1, "task.started", attempt=2**20), TaskEvent(2, "task.started", attempt=7)))]
        )
    assert (await app.events())["attempt"].to_list() == [2**16 - 1, 7]


async def test_events_can_be_asked_for_by_type_time_queue_and_number(filled: AsyncOmniQ) -> None:
    everything = await filled.events()
    counts = Counter(everything["event_type"])
    assert counts["task.enqueued"] == 10
    assert len(await filled.events(types="task.enqueued")) == 10
    assert len(await filled.events(types=["task.succeeded", "task.dead"])) == 6
    assert (
        len(await filled.events(types="task.*"))
        == len(everything) - counts["worker.started"] - counts["worker.stopped"]
    )
    assert len(await filled.events(queue="other")) == 1
    assert (await filled.events(limit=3)).equals(everything.tail(3))
    middle = everything["ts"][len(everything) // 2]
    before, after = await filled.events(until=middle), await filled.events(since=middle)
    assert len(before) + len(after) == len(everything)
    assert (await filled.events(since=datetime.now(UTC) + timedelta(days=1))).is_empty()


async def test_naive_moments_and_impossible_limits_are_refused(app: AsyncOmniQ) -> None:
    for name in ("since", "until"):
        with pytest.raises(NaiveDatetimeError, match=name):
            await app.events(**{name: datetime(2026, 1, 1)})  # type: ignore[arg-type]  # noqa: DTZ001 -- the point
        with pytest.raises(OptionError, match=f"{name} must be a datetime, not '2026-01-01'"):
            await app.events(**{name: "2026-01-01"})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="limit"):
        await app.events(limit=-1)


async def test_stream_gives_events_as_they_come_also_from_other_apps(app: AsyncOmniQ, make_app: Any) -> None:
    seen: list[str | None] = []
    other = make_app()
    await other.enqueue("before")

    async def listen() -> None:
        async for event in app.stream_events(types="task.enqueued"):
            seen.append(event.func)
            if event.func == "last":
                return

    listening = asyncio.create_task(listen())
    while not listening.done():
        # Until the stream has begun nothing is heard of; so some more are sent.
        await other.enqueue("next" if not seen else "last")
        await asyncio.sleep(0.02)
    await listening
    assert set(seen) == {"next", "last"}


# --- where an app's settings come from ---


async def test_app_can_be_made_from_a_config_a_mapping_a_file_and_the_environment(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "omniq.yaml"
    path.write_text(f"url: {store_url}\nlease: 7s\n")
    apps = [
        AsyncOmniQ(store_url, lease=7),
        AsyncOmniQ.from_config(Config(url=store_url, lease=7.0)),
        AsyncOmniQ.from_config({"url": store_url, "lease": timedelta(seconds=7)}),
        AsyncOmniQ.from_config(path),
        AsyncOmniQ.from_config(str(path)),
        AsyncOmniQ.from_config({"lease": 9}, url=store_url, lease=7),
    ]
    monkeypatch.setenv("OMNIQ_URL", store_url)
    monkeypatch.setenv("OMNIQ_LEASE", "7")
    apps += [AsyncOmniQ(), AsyncOmniQ.from_config(), AsyncOmniQ.from_config({"url": "memory://other", "lease": 1})]
    for n, app in enumerate(apps):
        assert app.config == Config(url=store_url, lease=7.0)
        async with app:
            await app.enqueue("f")
            assert (await app.stats()).totals == {"pending": n + 1}


async def test_app_starts_in_its_own_directory_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with AsyncOmniQ() as app:
        await app.enqueue("f")
    assert (tmp_path / ".omniq" / "omniq.db").exists()
    assert (tmp_path / ".omniq" / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("url", ["sqlite:///here/store.db", "file:///here/files"])
async def test_a_relative_store_stays_where_it_was_though_the_directory_changes(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with make_driver(url) as driver:
        monkeypatch.chdir(tmp_path / "elsewhere")
        await driver.write([Insert(Record("k", "x", "", "", 0, None, None, 0, 1, 0, 0, None, b""))])
        async with driver.clone() as other:
            assert [record is not None for record in await other.get([("k", "x")])] == [True]
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_each_component_can_have_its_own_store(tmp_path: Path) -> None:
    urls = {name: f"sqlite:///{tmp_path}/{name}.db" for name in ("queue", "results", "events", "schedules")}
    async with AsyncOmniQ(**urls, retry_delay=0, secret="a secret of enough bytes") as app:

        @app.task(max_retries=0)
        async def work(n: int) -> int:
            if n == 1:
                raise ValueError
            return n

        group = await work.map([0, 1, 2])
        async with app.workers() as pool:
            settled = await group.settled()
            await pool.drain()
        assert (settled[0], settled[2]) == (0, 2)
        assert (await app.stats()).totals == {"succeeded": 2, "failed": 1}
        assert Counter((await app.events(types="task.*"))["event_type"])["task.succeeded"] == 2
        assert await app.purge() == 2
    assert all((tmp_path / f"{name}.db").exists() for name in urls)


async def test_unknown_store_and_field_are_refused() -> None:
    with pytest.raises(UnknownBackendError, match="no backend for 'carrier-pigeon://'.*sqlite://"):
        await AsyncOmniQ("carrier-pigeon://").open()
    with pytest.raises(ConfigError, match="unknown configuration field 'urll'"):
        AsyncOmniQ(urll="memory://x")


async def test_secret_that_is_too_short_is_refused(store_url: str) -> None:
    with pytest.raises(ConfigError, match="secret must be at least 16 bytes"):
        await AsyncOmniQ(store_url, secret="short").open()


async def test_nothing_secret_shows(store_url: str) -> None:
    app = AsyncOmniQ("redis://user:hunter2@host/0", secret="a secret of enough bytes")
    assert "hunter2" not in repr(app)
    assert "enough" not in repr(app)
    with pytest.raises(UnknownBackendError) as refusal:
        await AsyncOmniQ("pigeon://user:hunter2@host/0").open()
    assert "hunter2" not in str(refusal.value)


def test_no_error_of_a_store_shows_its_password() -> None:
    error = StoreUnavailableError("postgresql://me:hunter2@host/db")
    assert "hunter2" not in f"{error} {error.store}"
    assert "postgresql://me:***@host/db" in str(error)


async def test_every_worker_is_listed_however_many_there_are(app: AsyncOmniQ) -> None:
    driver = (await app._ready()).queue.driver
    now = driver.clock()
    moment = datetime.now(UTC)
    info = WorkerInfo(
        id="w", host="h", pid=1, type="async", concurrency=1, running=0, queues=(), started_at=moment, seen_at=moment
    )
    body = msgspec.msgpack.encode(info)
    await driver.write(
        [Insert(Record("worker", f"w{n}", "", "", 0, None, None, 0, 1, now, now, None, body)) for n in range(1203)]
    )
    assert len((await app.stats()).workers) == 1203


async def test_events_that_could_not_be_written_are_written_later_by_themselves(
    app: AsyncOmniQ, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = (await app._ready()).queue
    write, failed = queue.driver.write, []

    async def fail_twice(ops: Any) -> list[bool]:
        if len(failed) < 2:
            failed.append(ops)
            raise StoreUnavailableError("memory://")
        return await write(ops)

    monkeypatch.setattr(queue.driver, "write", fail_twice)
    queue.note(TaskEvent(queue.driver.clock(), "task.started", "some"))

    async def is_there() -> bool:
        return len(await app.events(types="task.started")) == 1

    await until(is_there)
    assert len(failed) == 2


async def test_closed_app_says_so_and_can_be_opened_again(app: AsyncOmniQ) -> None:
    handle = await app.enqueue("f")
    await app.close()
    with pytest.raises(NotOpenError):
        await app.stats()
    await app.open()
    assert await handle.status() is TaskStatus.PENDING


async def test_first_call_opens_the_app(make_app: Any) -> None:
    app = make_app()
    assert not app.is_open
    await asyncio.gather(*(app.enqueue("f") for _ in range(10)))
    assert app.is_open
    assert (await app.stats()).totals == {"pending": 10}


async def test_a_schedule_that_changed_meanwhile_is_changed_as_it_stands(app: AsyncOmniQ) -> None:
    schedules = (await app._ready()).schedules
    made_at = datetime.now(UTC)
    await schedules.add(
        Schedule(id="s", func="f", schedule_type=ScheduleType.INTERVAL, interval=60.0, created_at=made_at)
    )
    seen: list[int] = []

    def pause(schedule: Schedule) -> Schedule:
        seen.append(schedule.run_count)
        return msgspec.structs.replace(schedule, status=ScheduleStatus.PAUSED)

    write = schedules.driver.write

    async def write_after_another(ops: Any) -> list[bool]:
        if len(seen) == 1:
            (record,) = await schedules.driver.get([("schedule", "s")])
            assert record is not None
            stored = await schedules.get("s")
            assert stored is not None
            fired = msgspec.structs.replace(stored, run_count=1)
            await write([Replace(schedules._record(fired), record)])
        return await write(ops)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedules.driver, "write", write_after_another)
        changed = await schedules.change("s", pause)
    assert changed is not None
    assert (changed.run_count, changed.status) == (1, ScheduleStatus.PAUSED)
    assert seen == [0, 1]
    assert await schedules.change("none", pause) is None
