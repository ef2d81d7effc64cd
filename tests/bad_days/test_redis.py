"""Redis on bad days: killed servers, cut and silent connections, full memory, replicas, foreign hands, wrong clocks."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, ConfigError, StoreError, TaskStatus
from omniq.backends.redis import RedisDriver
from omniq.backends.redis_errors import EvictionWarning
from omniq.backends.redis_server import SCHEMA_VERSION
from omniq.errors import (
    DuplicateTaskError,
    OptionError,
    StoreAlteredError,
    StoreCorruptError,
    StoreDeniedError,
    StoreFullError,
    StoreReadOnlyError,
    StoreTooNewError,
    StoreUnavailableError,
)
from omniq.models.record import Append, EventFilter, Filter, Insert, Record, Replace

from tests.servers.process import free_port
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisCluster, RedisServer

from .conftest import Outlive, StartWorker, assert_each_ended_once, assert_one_line

SECRET = "a secret of enough bytes"
SECOND = 1_000_000
_DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that no test kills."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def store_url(server: RedisServer) -> str:
    return server.url(uuid.uuid4().hex)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIQ_SECRET", SECRET)


def _record(key: str, *, due_at: int | None = 0) -> Record:
    return Record("task", key, "default", "pending", 0, due_at, None, 0, 1, 1, 1, None, b"body")


# --- servers that go and come back ---


async def test_killed_server_in_the_middle_of_a_run(tmp_path: Path, outlive: Outlive) -> None:
    with RedisServer(tmp_path / "redis", *_DURABLE) as server:
        await outlive(server.url(), server)


@pytest.mark.slow
async def test_node_of_a_cluster_fails_over_in_the_middle_of_a_run(
    make_app: Any, start: StartWorker, tmp_path: Path, until: Any, children: Any
) -> None:
    notes = tmp_path / "notes"
    with RedisCluster(tmp_path / "cluster", replicas=1) as cluster:
        app: AsyncOmniQ = make_app(cluster.url())
        await app.open()
        worker = start(cluster.url(), "--concurrency", "10")
        handles = [await app.enqueue("step", args=(str(notes), n, 0.02)) for n in range(300)]
        await until(lambda: notes.exists() and len(notes.read_text().splitlines()) >= 60)
        owner = await asyncio.to_thread(cluster.owner, "omniq:{omniq}:meta")
        await asyncio.to_thread(owner.kill)
        assert await app.group(handles).results(timeout=60) == list(range(300))
        await assert_each_ended_once(app, [handle.id for handle in handles])
        assert worker.poll() is None
        assert "Traceback" not in children.output_of(worker)
        assert await asyncio.to_thread(cluster.owner, "omniq:{omniq}:meta") is not owner
        await app.close()


# --- connections that break ---


def _through(server: RedisServer, proxy: Proxy, **parameters: Any) -> str:
    url = server.url(uuid.uuid4().hex).replace(f":{server.port}/", f":{proxy.port}/")
    return url + "".join(f"&{name}={value}" for name, value in parameters.items())


async def test_write_whose_answer_is_lost_is_carried_out_once(server: RedisServer) -> None:
    async with Proxy(server.port) as proxy, RedisDriver(_through(server, proxy)) as driver:
        first = _record("first")
        for n in range(10):
            proxy.swallows_answers = True
            writing = asyncio.create_task(driver.write([Insert(_record(f"{n}")), Append(()), Insert(first)]))
            await asyncio.sleep(0.05)
            assert not writing.done()
            proxy.swallows_answers = False
            proxy.cut()
            assert await writing == [True, True, n == 0]
        assert await driver.count("task") == {("default", "pending"): 11}


async def test_settlement_whose_answer_is_lost_is_accepted_once(server: RedisServer) -> None:
    async with Proxy(server.port) as proxy, RedisDriver(_through(server, proxy)) as driver:
        await driver.write([Insert(_record("a"))])
        (held,) = await driver.claim("task", None, "me", 1, 30 * SECOND)
        done = Record("task", "a", "default", "done", 0, None, None, 1, 0, 1, 2, None, b"done")
        event = (await driver.log_end())[1]
        proxy.swallows_answers = True
        writing = asyncio.create_task(driver.write([Replace(done, held), Insert(_record("result")), Append((), 0)]))
        await asyncio.sleep(0.05)
        proxy.swallows_answers = False
        proxy.cut()
        assert await writing == [True, True, True]
        assert await driver.write([Replace(done, held)]) == [False]
        assert (await driver.read_log(event))[0] == []


async def test_claim_whose_answer_is_lost_loses_nothing(server: RedisServer) -> None:
    async with Proxy(server.port) as proxy, RedisDriver(_through(server, proxy)) as driver:
        await driver.write([Insert(_record(f"{n:02}")) for n in range(20)])
        await driver.claim("task", None, "me", 1, 30 * SECOND)
        proxy.swallows_answers = True
        claiming = asyncio.create_task(driver.claim("task", None, "me", 10, 30 * SECOND))
        await asyncio.sleep(0.05)
        proxy.swallows_answers = False
        proxy.cut()
        claimed = await claiming
        assert [record.key for record in claimed] == [f"{n:02}" for n in range(1, 11)]
        assert {(record.version, record.claims) for record in claimed} == {(2, 1)}
        assert await driver.count("task") == {("default", "pending"): 9, ("default", "running"): 11}


async def test_call_that_may_have_been_carried_out_says_so(server: RedisServer) -> None:
    async with Proxy(server.port) as proxy, RedisDriver(_through(server, proxy)) as driver:
        await driver.count("task")
        proxy.swallows_answers = True
        writing = asyncio.create_task(driver.write([Insert(_record("a"))]))
        await asyncio.sleep(0.05)
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(StoreUnavailableError) as caught:
            await writing
        assert caught.value.sent, "it may have been carried out, though the last try did not get there"
        assert_one_line(caught.value, "can't be reached")
        with pytest.raises(StoreUnavailableError) as caught:
            await driver.write([Insert(_record("b"))])
        assert not caught.value.sent
        proxy.refuses = proxy.swallows_answers = False


async def test_server_that_falls_silent_is_noticed(server: RedisServer) -> None:
    """The connections stand, and nothing comes: a machine that is gone without a word."""
    async with Proxy(server.port) as proxy:
        url = _through(server, proxy, socket_timeout=0.3)
        async with RedisDriver(url) as driver, RedisDriver(url) as other:
            with driver.watch() as changes:
                await changes.wait(5)  # the subscription stands
                proxy.stalls = True
                with pytest.raises(StoreUnavailableError, match="no answer|did not answer"):
                    await driver.write([Insert(_record("a"))])
                proxy.cut()
                proxy.stalls = False
                await _when_back(lambda: driver.count("task"))
                changes.clear()
                await _when_back(lambda: other.write([Insert(_record("b"))]))
                assert await changes.wait(10), "the subscription did not come back"
                assert {record.key for record in (await driver.scan(Filter(kind="task"))).records} >= {"b"}


async def test_answer_of_a_server_that_hung_comes_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("omniq.storage.breaker.FIRST_PAUSE", 2.0)
    with RedisServer(tmp_path) as server:
        async with RedisDriver(f"{server.url()}&socket_timeout=0.3") as driver:
            await driver.write([Insert(_record("a"))])
            server.suspend()
            writing = asyncio.create_task(driver.write([Insert(_record("b"))]))
            await asyncio.sleep(0.7)
            server.resume()  # the driver has given the answer up, and has not called again yet
            assert await writing == [True]
            assert await driver.count("task") == {("default", "pending"): 2}
    assert not [each.getMessage() for each in caplog.records if each.name == "asyncio"]


async def test_lost_subscription_comes_back_and_notifies_once(server: RedisServer) -> None:
    async with Proxy(server.port) as proxy:
        url = _through(server, proxy)
        async with RedisDriver(url) as driver, RedisDriver(url) as other:
            with driver.watch(claimable=True, others=True) as changes:
                assert await changes.wait(10)
                for n in range(3):
                    changes.clear()
                    proxy.cut()
                    assert await changes.wait(10), "what happened meanwhile was not heard, so it should look again"
                    changes.clear()
                    await _when_back(lambda n=n: other.write([Insert(_record(f"{n}"))]))
                    assert await changes.wait(10)


async def _when_back(call: Callable[[], Any]) -> Any:
    for _ in range(200):
        with contextlib.suppress(StoreUnavailableError):
            return await call()
        await asyncio.sleep(0.05)
    return await call()


async def test_dead_connection_is_found_out_by_the_subscription_alone(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omniq.backends.redis_listener._SILENCE", 0.1)
    # A connection that is made meanwhile, in vain, is given up after a second.
    async with Proxy(server.port) as proxy, RedisDriver(_through(server, proxy, socket_timeout=1)) as driver:
        with driver.watch() as changes:
            assert await changes.wait(10)
            changes.clear()
            await asyncio.sleep(0.5)  # it asks, and is answered
            assert not await changes.wait(0.01)
            proxy.swallows_answers = True
            await asyncio.sleep(0.3)
            assert not await changes.wait(0.01)
            proxy.swallows_answers = False
            assert await changes.wait(30)


# --- servers that refuse ---


async def test_full_memory_is_one_clear_line_and_nothing_accepted_is_lost(make_app: Any, tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--maxmemory", "8mb", "--maxmemory-policy", "noeviction") as server:
        app: AsyncOmniQ = make_app(server.url())
        accepted: list[str] = []
        with pytest.raises(StoreFullError) as caught:
            for n in range(10_000):
                accepted.append((await app.enqueue("f", args=(n, "x" * 5000))).id)
        assert_one_line(caught.value, "memory is full", "maxmemory")
        assert (await app.stats()).totals == {"pending": len(accepted)}
        assert {task.id for task in (await app.list_tasks(limit=10_000)).tasks} == set(accepted)
        # What is there already is told as ever: who asks once more, since the answer was lost, must hear of it.
        with pytest.raises(DuplicateTaskError):
            await app.enqueue("f", task_id=accepted[0])
        # A batch is refused as a whole, and what is purged makes room.
        with pytest.raises(StoreFullError):
            await app.task(name="g")(_nothing).map(["x" * 5000] * 100)
        assert (await app.stats()).totals == {"pending": len(accepted)}
        assert await app.purge(status=TaskStatus.PENDING) == len(accepted)
        await app.enqueue("f", args=("x" * 5000,))
        await app.close()


def _nothing(value: str) -> None:
    pass


async def test_worker_keeps_its_leases_while_memory_is_full(make_app: Any, tmp_path: Path, caplog: Any) -> None:
    """And writes what came of its tasks when there is room again: none is run once more."""
    with RedisServer(tmp_path, "--maxmemory-policy", "noeviction") as server:
        app: AsyncOmniQ = make_app(server.url(), lease=3.0, heartbeat=0.5)
        may_end = tmp_path / "may-end"

        @app.task
        async def slow(may_end: Path) -> str:
            while not may_end.exists():
                await asyncio.sleep(0.05)
            return "done"

        with server.client() as client:
            async with app.workers() as pool:
                handle = await slow.enqueue(may_end)
                while (await app.get_task(handle.id)).status != TaskStatus.RUNNING:
                    await asyncio.sleep(0.05)
                client.config_set("maxmemory", "1mb")
                first_lease_ends = await _lease_end(app, handle.id)
                while await _lease_end(app, handle.id) < first_lease_ends + timedelta(seconds=5):
                    await asyncio.sleep(0.1)
                may_end.touch()
                while not pool._unsettled:
                    await asyncio.sleep(0.1)
                client.config_set("maxmemory", "0")
                assert await handle == "done"
        assert (await app.get_task(handle.id)).attempt == 1
        assert "the lease" not in caplog.text
        await app.close()


async def _lease_end(app: AsyncOmniQ, task_id: str) -> datetime:
    task = await app.get_task(task_id)
    assert task.status == TaskStatus.RUNNING
    assert task.run_at is not None
    return task.run_at


async def test_replica_is_one_clear_line(server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--replicaof", "127.0.0.1", str(server.port)) as replica:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with replica.client() as client:
                if client.info("replication")["master_link_status"] == "up":
                    break
            await asyncio.sleep(0.05)
        with pytest.raises(StoreReadOnlyError) as caught:
            await RedisDriver(replica.url()).open()
        assert_one_line(caught.value, "read-only", "primary")


async def test_primary_that_becomes_a_replica_is_one_clear_line(server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as other:
        async with RedisDriver(other.url()) as driver:
            await driver.write([Insert(_record("a"))])
            with other.client() as client:
                client.execute_command("REPLICAOF", "127.0.0.1", free_port())
            with pytest.raises(StoreReadOnlyError):
                await driver.write([Insert(_record("b"))])
            with pytest.raises(StoreReadOnlyError):
                await driver.claim("task", None, "me", 1, SECOND)


async def test_address_that_leads_to_a_new_primary_is_followed(server: RedisServer, tmp_path: Path) -> None:
    """The old primary lives on as a replica, and keeps the connections that it has."""
    with RedisServer(tmp_path) as old:
        async with Proxy(old.port) as proxy, RedisDriver(_through(old, proxy)) as driver:
            await driver.write([Insert(_record("a"))])
            with old.client() as client:
                client.execute_command("REPLICAOF", "127.0.0.1", server.port)
            proxy.port_behind = server.port
            with pytest.raises(StoreReadOnlyError):
                await driver.write([Insert(_record("b"))])
            assert await driver.write([Insert(_record("b"))]) == [True]


async def test_policy_that_may_drop_tasks_is_warned_of(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--maxmemory", "100mb") as server, server.client() as client:
        for policy, warns in (("allkeys-lru", True), ("volatile-ttl", False), ("noeviction", False)):
            client.config_set("maxmemory-policy", policy)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                async with RedisDriver(server.url()):
                    pass
            found = [str(each.message) for each in caught if issubclass(each.category, EvictionWarning)]
            assert bool(found) == warns
            assert all(policy in each and "noeviction" in each for each in found)


async def test_wrong_password(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--requirepass", "right") as server:
        for credentials in ("", ":hunter2@", "somebody:hunter2@"):
            url = f"redis://{credentials}127.0.0.1:{server.port}/0"
            with pytest.raises(StoreDeniedError) as caught:
                await RedisDriver(url).open()
            assert_one_line(caught.value, "refuses this user")
        async with RedisDriver(f"redis://:right@127.0.0.1:{server.port}/0") as driver:
            assert await driver.count("task") == {}


async def test_wrong_database(server: RedisServer) -> None:
    with pytest.raises(StoreError) as caught:
        await RedisDriver(f"redis://127.0.0.1:{server.port}/99").open()
    assert_one_line(caught.value, "has no such database")
    with pytest.raises(ConfigError, match="a cluster has none but 0"):
        RedisDriver(f"redis+cluster://127.0.0.1:{server.port}/3")


async def test_nobody_listens() -> None:
    for scheme in ("redis", "redis+cluster"):
        driver = RedisDriver(f"{scheme}://:hunter2@127.0.0.1:{free_port()}/0")
        with pytest.raises(StoreUnavailableError) as caught:
            await driver.open()
        assert_one_line(caught.value, "can't be reached", ":***@")
        assert not caught.value.sent


@pytest.mark.parametrize("url", ["redis://localhost:port", "redis://localhost?namespace={x}", "redis://h?namespace="])
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        RedisDriver(url)


def test_unknown_option_is_refused() -> None:
    with pytest.raises(OptionError, match="no_such_option"):
        RedisDriver("redis://localhost", options={"no_such_option": 1})


async def test_no_cluster_behind_a_cluster_url(server: RedisServer) -> None:
    with pytest.raises(StoreError) as caught:
        await RedisDriver(f"redis+cluster://127.0.0.1:{server.port}").open()
    assert_one_line(caught.value, "cluster")


# --- other hands ---


@pytest.mark.parametrize("name", ["records:task", "keys:4:task:7:default:pending", "later:task", "groups:task", "log"])
async def test_key_of_another_type_is_one_clear_error(server: RedisServer, store_url: str, name: str) -> None:
    prefix = f"omniq:{{{store_url.partition('namespace=')[2]}}}:"
    async with RedisDriver(store_url) as driver:
        await driver.write([Insert(_record("a")), Append(())])
        with server.client() as client:
            client.delete(prefix + name)
            client.set(prefix + name, "mine")
        with pytest.raises(StoreCorruptError) as caught:
            event = _event()
            await driver.write([Insert(_record("b", due_at=10**16)), Append((event,))])
            await driver.claim("task", None, "me", 10, SECOND)
            await driver.count("task")
        assert_one_line(caught.value, "is not as OmniQ made it", "another type")
        assert not isinstance(caught.value.__cause__, StoreError)


def _event() -> Any:
    from omniq.models.event import TaskEvent

    return TaskEvent(ts=1, event_type="t")


async def test_record_that_was_overwritten_is_one_clear_error(server: RedisServer, store_url: str) -> None:
    records = f"omniq:{{{store_url.partition('namespace=')[2]}}}:records:task"
    async with RedisDriver(store_url) as driver:
        await driver.write([Insert(_record("a")), Insert(_record("b"))])
        with server.client() as client:
            client.hset(records, "a", "not a record")
        for call in (
            lambda: driver.get([("task", "a")]),
            lambda: driver.claim("task", None, "me", 10, SECOND),
            lambda: driver.write([Insert(_record("a"))]),
            lambda: driver.write([Insert(_record("a")), Append((), 0)]),
            lambda: driver.scan(Filter(kind="task")),
        ):
            with pytest.raises(StoreAlteredError) as caught:
                await call()
            assert_one_line(caught.value, "the record task", "a")
        # Nobody else's batch fails with it, and nothing was taken in vain.
        outcomes = await asyncio.gather(
            driver.write([Insert(_record("a"))]), driver.write([Insert(_record("c"))]), return_exceptions=True
        )
        assert isinstance(outcomes[0], StoreAlteredError)
        assert outcomes[1] == [True]
        with server.client() as client:
            client.hdel(records, "a")
        assert [record.key for record in await driver.claim("task", None, "me", 10, SECOND)] == ["b", "c"]


async def test_records_that_were_deleted_by_hand_are_gone(server: RedisServer, store_url: str) -> None:
    prefix = f"omniq:{{{store_url.partition('namespace=')[2]}}}:"
    async with RedisDriver(store_url) as driver:
        await driver.write([Insert(_record(f"{n}")) for n in range(5)])
        with server.client() as client:
            client.hdel(f"{prefix}records:task", "0", "3")
        assert [record.key for record in (await driver.scan(Filter(kind="task"))).records] == ["1", "2", "4"]
        assert [record.key for record in await driver.claim("task", None, "me", 2, SECOND)] == ["1", "2"]
        with server.client() as client:
            client.delete(f"{prefix}records:task")
        assert await driver.claim("task", None, "me", 2, SECOND) == []
        assert (await driver.query(EventFilter()))["ts"] == []


async def test_store_of_a_newer_version_is_refused(server: RedisServer, store_url: str) -> None:
    meta = f"omniq:{{{store_url.partition('namespace=')[2]}}}:meta"
    async with RedisDriver(store_url):
        pass
    with server.client() as client:
        client.hset(meta, "schema", SCHEMA_VERSION + 1)
        with pytest.raises(StoreTooNewError, match="newer version of OmniQ"):
            await RedisDriver(store_url).open()
        client.hset(meta, "schema", "mine")
        with pytest.raises(StoreAlteredError):
            await RedisDriver(store_url).open()


async def test_scripts_that_the_server_forgot_are_sent_again(server: RedisServer, store_url: str) -> None:
    async with RedisDriver(store_url) as driver:
        for n in range(3):
            with server.client() as client:
                client.script_flush()
            assert await driver.write([Insert(_record(f"{n}"))]) == [True]
        assert await driver.count("task") == {("default", "pending"): 3}


@pytest.mark.parametrize("needs", ["one call", "another connection", "the script"])
async def test_write_is_carried_out_and_told_of_though_its_caller_is_gone(server: RedisServer, needs: str) -> None:
    async with Proxy(server.port) as proxy, RedisDriver(_through(server, proxy)) as driver:
        with driver.watch() as changes:
            if needs == "the script":
                with server.client() as client:
                    client.script_flush()
            elif needs == "another connection":
                proxy.cut()
                await asyncio.sleep(0.05)
            changes.clear()
            writing = asyncio.create_task(driver.write([Insert(_record("a")), Append((), 0)]))
            await asyncio.sleep(0)
            writing.cancel()
            assert await changes.wait(30)
        assert writing.cancelled()
        assert await driver.count("task") == {("default", "pending"): 1}


# --- clocks ---


@pytest.mark.parametrize("off", [-90.0, 90.0])
async def test_worker_whose_clock_is_wrong_does_no_harm(
    app: AsyncOmniQ, start: StartWorker, store_url: str, tmp_path: Path, off: float, until: Any
) -> None:
    """Its leases end when they should: nobody else takes its tasks, and it holds none for longer."""
    notes = tmp_path / "notes"
    wrong = start(store_url, "--concurrency", "4", off=off)
    handles = [await app.enqueue("step", args=(str(notes), n, 3)) for n in range(4)]
    await until(lambda: notes.exists() and len(notes.read_text().splitlines()) == 4)
    right = start(store_url, "--concurrency", "4")
    assert await app.group(handles).results(timeout=60) == list(range(4))
    began = [line.split() for line in notes.read_text().splitlines()]
    assert sorted(began) == sorted([str(n), str(wrong.pid)] for n in range(4)), "a task was run twice"
    await assert_each_ended_once(app, [handle.id for handle in handles])
    # A task that the one with the wrong clock leaves behind is taken over when its lease ends.
    right.kill()
    right.wait()
    await app.enqueue("step", args=(str(notes), 9, 600))
    await until(lambda: f"9 {wrong.pid}" in notes.read_text())
    wrong.kill()
    wrong.wait()
    successor = start(store_url)
    await until(lambda: f"9 {successor.pid}" in notes.read_text())


async def test_sender_whose_clock_is_fast_delays_nothing(
    app: AsyncOmniQ, store_url: str, children: Any, until: Any
) -> None:
    code = (
        "import asyncio, sys, time\n"
        "real = time.time_ns\n"
        "time.time_ns = lambda: real() + 90 * 10**9\n"
        "from omniq import AsyncOmniQ\n"
        "async def main():\n"
        "    async with AsyncOmniQ(sys.argv[1]) as app:\n"
        "        print((await app.enqueue('nothing')).id)\n"
        "asyncio.run(main())\n"
    )
    sent = children.finish(children.python("-c", code, store_url)).strip()

    @app.task
    def nothing() -> str:
        return "done"

    async with app.workers():
        assert await app.handle(sent).result(timeout=30) == "done"
    created = (await app.get_task(sent)).created_at.timestamp()
    assert abs(created - time.time()) < 60


if sys.platform == "win32":
    pytestmark = pytest.mark.skip(reason="the server does not run there")
