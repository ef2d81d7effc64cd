"""NATS on bad days: killed servers and leaders, silent connections, full streams, foreign hands, wrong clocks."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from omniq import AsyncOmniQ, ConfigError, TaskFailed
from omniq.backends.nats import NATSDriver
from omniq.errors import (
    StoreCorruptError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreTooNewError,
    StoreTooOldError,
    StoreUnavailableError,
)
from omniq.models.event import TaskEvent
from omniq.models.record import Append, EventFilter, Filter, Insert, Record, Replace
from omniq.testing.harness import scan_all

from tests.servers.nats import NATS, Cluster, new_namespace
from tests.servers.process import free_port
from tests.servers.proxy import Proxy

from .conftest import Outlive, StartWorker, assert_each_ended_once, assert_one_line, pids

SECOND = 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NATS]:
    """A server that no test kills."""
    with NATS(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def store_url(server: NATS) -> str:
    return f"{server.url}?namespace={new_namespace()}"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIQ_SECRET", "a secret of enough bytes")


@asynccontextmanager
async def _jetstream(server: NATS) -> AsyncIterator[JetStreamContext]:
    """A plain client."""
    client = await nats.connect(server.url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


def _record(key: str, *, body: bytes = b"body") -> Record:
    return Record("task", key, "default", "pending", 0, 0, None, 0, 1, 1, 1, None, body)


def _event(ts: int) -> TaskEvent:
    return TaskEvent(ts, "task.started", "t", "f", "default", "w", 1, None, None)


async def _when_back(call: Callable[[], Any]) -> Any:
    for _ in range(400):
        with suppress(StoreUnavailableError):
            return await call()
        await asyncio.sleep(0.05)
    return await call()


# --- servers that go and come back ---


async def test_killed_server_in_the_middle_of_a_run(tmp_path: Path, outlive: Outlive) -> None:
    with NATS(tmp_path / "nats") as server:
        await outlive(server.url, server.server)


@pytest.mark.slow
async def test_leader_of_a_cluster_is_killed_in_the_middle_of_a_run(
    make_app: Any, start: StartWorker, tmp_path: Path, until: Any, children: Any
) -> None:
    notes = tmp_path / "notes"
    cluster = Cluster(tmp_path / "cluster")
    await asyncio.to_thread(cluster.start)
    try:
        async with NATSDriver(cluster.url, options={"replicas": 3, "timeout": 20.0}):
            pass  # makes the streams, on all three
        app: AsyncOmniQ = make_app(cluster.url)
        await app.open()
        worker = start(cluster.url, "--concurrency", "10", lease=5)
        handles = [await app.enqueue("step", args=(str(notes), n, 0.02)) for n in range(300)]
        await until(lambda: len(pids(notes)) >= 60)
        leader = await asyncio.to_thread(cluster.leader, "OMNIQ_omniq")
        await asyncio.to_thread(leader.server.kill)
        assert await app.group(handles).results(timeout=90) == list(range(300))
        await assert_each_ended_once(app, [handle.id for handle in handles])
        assert worker.poll() is None
        assert "Traceback" not in children.output_of(worker)
        assert await asyncio.to_thread(cluster.leader, "OMNIQ_omniq") is not leader
        await app.close()
    finally:
        cluster.stop()


async def test_log_that_has_lost_its_end(tmp_path: Path) -> None:
    """A machine without ``sync_interval: always`` has lost its power: everybody goes on from what is left."""
    with NATS(tmp_path / "nats") as server:
        async with NATSDriver(server.url) as driver, NATSDriver(server.url) as idle:
            await driver.write([Insert(_record("kept"))])
            server.server.stop()
            shutil.copytree(tmp_path / "nats" / "data", tmp_path / "copy")
            server.server.start()
            await _when_back(lambda: driver.write([Insert(_record("lost")), Append((_event(1),))]))
            assert len(await _when_back(lambda: idle.get([("task", "lost")]))) == 1
            server.server.stop()
            shutil.rmtree(tmp_path / "nats" / "data")
            shutil.copytree(tmp_path / "copy", tmp_path / "nats" / "data")
            server.server.start()
            # Another end of the same length, and what one of the two remembers is no part of it.
            async with NATSDriver(server.url) as other:
                await other.write([Insert(_record("another"))])
            for each in (driver, idle):
                page = await _when_back(lambda each=each: each.scan(Filter(kind="task")))
                assert [record.key for record in page.records] == ["another", "kept"]
                assert (await each.query(EventFilter()))["ts"] == []


# --- connections that break ---


def _through(url: str, server: NATS, proxy: Proxy) -> str:
    return url.replace(f":{server.port}", f":{proxy.port}")


async def test_write_whose_answer_is_lost_is_carried_out_once(server: NATS, store_url: str) -> None:
    async with Proxy(server.port) as proxy, NATSDriver(_through(store_url, server, proxy)) as driver:
        for n in range(10):
            proxy.swallows_answers = True
            writing = asyncio.create_task(driver.write([Insert(_record(f"{n}")), Insert(_record("first"))]))
            await asyncio.sleep(0.05)
            assert not writing.done()
            proxy.swallows_answers = False
            proxy.cut()
            assert await writing == [True, n == 0]
        assert await driver.count("task") == {("default", "pending"): 11}


async def test_settlement_whose_answer_is_lost_is_accepted_once(server: NATS, store_url: str) -> None:
    async with Proxy(server.port) as proxy, NATSDriver(_through(store_url, server, proxy)) as driver:
        await driver.write([Insert(_record("a"))])
        (held,) = await driver.claim("task", None, "me", 1, 30 * SECOND)
        done = Record("task", "a", "default", "done", 0, None, None, 1, 0, 1, 2, None, b"done")
        _, position = await driver.log_end()
        proxy.swallows_answers = True
        writing = asyncio.create_task(
            driver.write([Replace(done, held), Insert(_record("result"), 0), Append((_event(1),), 0)])
        )
        await asyncio.sleep(0.05)
        proxy.swallows_answers = False
        proxy.cut()
        assert await writing == [True, True, True]
        assert await driver.write([Replace(done, held)]) == [False]
        assert len((await driver.read_log(position))[0]) == 1


async def test_claim_whose_answer_is_lost_loses_nothing(server: NATS, store_url: str) -> None:
    async with Proxy(server.port) as proxy, NATSDriver(_through(store_url, server, proxy)) as driver:
        await driver.write([Insert(_record(f"{n:02}")) for n in range(20)])
        proxy.swallows_answers = True
        claiming = asyncio.create_task(driver.claim("task", None, "me", 10, 30 * SECOND))
        await asyncio.sleep(0.05)
        proxy.swallows_answers = False
        proxy.cut()
        claimed = await claiming
        assert [record.key for record in claimed] == [f"{n:02}" for n in range(10)]
        assert {(record.version, record.claims) for record in claimed} == {(2, 1)}
        assert await driver.count("task") == {("default", "pending"): 10, ("default", "running"): 10}


async def test_server_that_falls_silent_is_noticed(server: NATS, store_url: str) -> None:
    """The connection stands, and nothing comes: a machine that is gone without a word."""
    async with (
        Proxy(server.port) as proxy,
        NATSDriver(_through(store_url, server, proxy), options={"timeout": 0.3}) as driver,
        NATSDriver(store_url) as other,
    ):
        with driver.watch() as changes:
            proxy.stalls = True
            with pytest.raises(StoreUnavailableError, match="no answer") as caught:
                await driver.write([Insert(_record("a"))])
            assert_one_line(caught.value, "can't be reached")
            assert caught.value.sent, "it may have been carried out, though the last try did not get there"
            proxy.cut()
            proxy.stalls = False
            await _when_back(lambda: driver.count("task"))
            changes.clear()
            await other.write([Insert(_record("b"))])
            assert await changes.wait(10), "it no longer hears of what others write"
            assert {record.key for record in (await driver.scan(Filter(kind="task"))).records} >= {"b"}


async def test_lost_connection_of_one_who_only_watches_comes_back_with_his_next_look(
    server: NATS, store_url: str
) -> None:
    async with Proxy(server.port) as proxy, NATSDriver(_through(store_url, server, proxy)) as driver:
        for n in range(3):
            proxy.cut()
            await asyncio.sleep(0.05)
            async with NATSDriver(store_url) as other:
                await other.write([Insert(_record(f"{n}"))])
            assert await driver.next_due("task") is None
            assert await driver.count("task") == {("default", "pending"): n + 1}


# --- servers that refuse ---


async def test_jetstream_is_not_enabled(tmp_path: Path) -> None:
    with NATS(tmp_path, jetstream=False) as server:
        with pytest.raises(StoreError) as caught:
            await NATSDriver(server.url).open()
        assert_one_line(caught.value, "JetStream is not enabled", "nats-server -js")


async def test_nobody_listens() -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        await NATSDriver(f"nats://somebody:hunter2@127.0.0.1:{free_port()}").open()
    assert_one_line(caught.value, "can't be reached", ":***@")
    assert not caught.value.sent


async def test_wrong_password(tmp_path: Path) -> None:
    users = (
        "accounts { A { jetstream: enabled, users: [ {user: me, password: right},"
        ' {user: narrow, password: right, permissions: {publish: "elsewhere"}} ] } }'
    )
    with NATS(tmp_path, configuration=users) as server:
        for login in ("", "me:hunter2@", "somebody:hunter2@", "narrow:right@"):
            with pytest.raises(StoreDeniedError) as caught:
                await NATSDriver(server.url.replace("//", f"//{login}"), options={"timeout": 1}).open()
            assert_one_line(caught.value)
        async with NATSDriver(server.url.replace("//", "//me:right@")) as driver:
            assert await driver.count("task") == {}


async def test_full_stream_is_one_clear_line_and_nothing_accepted_is_lost(
    make_app: Any, server: NATS, store_url: str
) -> None:
    app: AsyncOmniQ = make_app(store_url, storage_options={"max_bytes": 500_000})
    accepted: list[str] = []
    with pytest.raises(StoreFullError) as caught:
        for n in range(1000):
            accepted.append((await app.enqueue("f", args=(n, "x" * 5000))).id)
    assert 20 < len(accepted) < 120
    assert_one_line(caught.value, "maximum bytes exceeded")
    with pytest.raises(StoreFullError):
        await app.task(name="g")(_nothing).map(["x" * 5000] * 10)
    assert (await app.stats()).totals == {"pending": len(accepted)}
    assert {task.id for task in (await app.list_tasks(limit=1000)).tasks} == set(accepted)
    async with _jetstream(server) as jetstream:  # an operator makes room
        stream = f"OMNIQ_{store_url.rpartition('=')[2]}"
        config = (await jetstream.stream_info(stream)).config
        await jetstream.update_stream(config, max_bytes=-1)
    await app.enqueue("f", args=("x" * 5000,))
    await app.close()


def _nothing(value: str) -> None:
    pass


async def test_server_of_another_age(server: NATS, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omniq.backends.nats_connection.OLDEST_SERVER", (99, 0))
    with pytest.raises(StoreTooOldError) as caught:
        await NATSDriver(store_url).open()
    assert_one_line(caught.value, "OmniQ needs 99.0")


# --- foreign hands ---


async def test_rubbish_in_the_log_says_nothing_to_anybody(
    server: NATS, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    namespace = store_url.rpartition("=")[2]
    async with NATSDriver(store_url) as driver, _jetstream(server) as jetstream:
        await driver.write([Insert(_record("a"))])
        stored = await jetstream.get_msg(f"OMNIQ_{namespace}", 1)
        assert stored.data
        for rubbish in (b"", b"rubbish", b"OMQ1" + bytes(24) + b"\xc1", stored.data[:40], stored.data[:-1]):
            await jetstream.publish(f"omniq.{namespace}.log", rubbish)
        await driver.write([Insert(_record("b"))])
        async with NATSDriver(store_url) as newcomer:
            for each in (driver, newcomer):
                records = await scan_all(each, Filter(kind="task"))
                assert [record.key for record in records] == ["a", "b"]
    assert "is no transaction and is left out" in caplog.text


async def test_snapshot_that_was_overwritten_is_one_clear_line(server: NATS, store_url: str) -> None:
    namespace = store_url.rpartition("=")[2]
    async with NATSDriver(store_url) as driver, _jetstream(server) as jetstream:
        await driver.write([Insert(_record("a"))])
        await jetstream.publish(f"omniq.{namespace}.aside.manifest", b"rubbish")
        with pytest.raises(StoreCorruptError) as caught:
            await NATSDriver(store_url).open()
        assert_one_line(caught.value, "its snapshot can't be read")
        # It was none that anybody needed: without it the log has everything.
        await jetstream.purge_stream(f"OMNIQ_{namespace}_ASIDE")
        async with NATSDriver(store_url) as newcomer:
            assert await newcomer.count("task") == {("default", "pending"): 1}


async def test_large_body_that_was_deleted_is_one_clear_line(server: NATS, store_url: str) -> None:
    namespace = store_url.rpartition("=")[2]
    async with NATSDriver(store_url) as driver, _jetstream(server) as jetstream:
        await driver.write([Insert(_record("large", body=bytes(100_000))), Insert(_record("small"))])
        await jetstream.purge_stream(f"OMNIQ_{namespace}_ASIDE")
        with pytest.raises(StoreCorruptError) as caught:
            await driver.get([("task", "large")])
        assert_one_line(caught.value, "the body of the task 'large' is gone")
        assert (await driver.get([("task", "small")]))[0] is not None


async def test_task_whose_large_body_was_deleted_fails_and_holds_up_no_other(
    make_app: Any, server: NATS, store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app: AsyncOmniQ = make_app(store_url)
    app.task(name="f")(len)
    before, lost, after = [await app.enqueue("f", args=("x" * n,)) for n in (1, 20_000, 2)]
    async with _jetstream(server) as jetstream:
        await jetstream.purge_stream(f"OMNIQ_{store_url.rpartition('=')[2]}_ASIDE")
    async with app.workers() as pool:
        await pool.drain()
    assert [await before.result(timeout=10), await after.result(timeout=10)] == [1, 2]
    assert await lost.status() == "failed"
    with pytest.raises(TaskFailed, match="can't be read"):
        await lost.result(timeout=10)
    assert (await app.stats()).totals == {"failed": 1, "succeeded": 2}
    listed = (await app.list_tasks()).tasks
    assert {task.id for task in listed} == {before.id, lost.id, after.id}
    await app.close()
    assert "could not be deleted" not in caplog.text


async def test_stream_that_was_deleted_is_one_clear_line(server: NATS, store_url: str) -> None:
    namespace = store_url.rpartition("=")[2]
    async with NATSDriver(store_url) as driver, _jetstream(server) as jetstream:
        await driver.write([Insert(_record("a"))])
        await jetstream.delete_stream(f"OMNIQ_{namespace}")
        for call in (lambda: driver.count("task"), lambda: driver.write([Insert(_record("b"))])):
            with pytest.raises(StoreError) as caught:
                await call()
            assert_one_line(caught.value)
        async with NATSDriver(store_url) as other:  # makes it anew, and it is another one
            await other.write([Insert(_record("c"))])
            assert await _when_back(lambda: driver.count("task")) == {("default", "pending"): 1}
            assert [record.key for record in (await driver.scan(Filter(kind="task"))).records] == ["c"]


@pytest.mark.parametrize(("metadata", "error"), [({}, StoreCorruptError), ({"omniq.schema": "99"}, StoreTooNewError)])
async def test_stream_of_somebody_else(
    server: NATS, store_url: str, metadata: dict[str, str], error: type[StoreError]
) -> None:
    namespace = store_url.rpartition("=")[2]
    config = {"name": f"OMNIQ_{namespace}", "subjects": [f"theirs.{namespace}"], "metadata": metadata}
    async with _jetstream(server) as jetstream:
        answer = await jetstream._nc.request(f"$JS.API.STREAM.CREATE.OMNIQ_{namespace}", json.dumps(config).encode())
        assert b"error" not in answer.data
        with pytest.raises(error) as caught:
            await NATSDriver(store_url).open()
        assert_one_line(caught.value)


def test_urls_that_are_none() -> None:
    for url in ("nats://", "nats://host?database=1", "nats://host?namespace=a.b", "nats://host?namespace="):
        with pytest.raises(ConfigError) as caught:
            NATSDriver(url)
        assert_one_line(caught.value)


# --- wrong clocks ---


@pytest.mark.parametrize("off", [90.0, -90.0])
async def test_worker_whose_clock_is_wrong_works_like_any_other(
    off: float, make_app: Any, start: StartWorker, tmp_path: Path, until: Any, store_url: str
) -> None:
    """Due times and leases are the server's: it neither takes tasks too early nor loses those that it runs."""
    notes = tmp_path / "notes"
    app: AsyncOmniQ = make_app(store_url)
    await app.open()
    wrong = start(store_url, "--concurrency", "5", off=off, lease=4)

    async def are_there(workers: int) -> bool:
        return len((await app.stats()).workers) == workers

    await until(lambda: are_there(1))
    start(store_url, "--concurrency", "5", lease=4)
    await until(lambda: are_there(2))  # and send heartbeats
    began = time.time()
    late = await app.enqueue("step", args=(str(notes), 99, 0.0), delay=3)
    handles = [await app.enqueue("step", args=(str(notes), n, 9.0)) for n in range(8)]  # longer than a lease
    assert await app.group(handles) == list(range(8))
    assert await late == 99
    assert time.time() >= began + 3
    assert len(pids(notes)) == 9, "a task was begun twice"
    assert str(wrong.pid) in pids(notes)
    await assert_each_ended_once(app, [late.id, *(handle.id for handle in handles)])
    await app.close()
