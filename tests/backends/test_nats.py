"""What only NATS has: snapshots of the replica, a log that is cut behind them, transactions of many messages."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import nats
import pytest
from msgspec.structs import replace
from nats.js import JetStreamContext
from omniq.backends import nats_aside
from omniq.backends.nats import NATSDriver
from omniq.backends.nats_store import Store
from omniq.errors import StoreUnavailableError
from omniq.models.event import TaskEvent
from omniq.models.record import Append, Delete, EventFilter, Extend, Filter, Insert, Op, Record, Replace
from omniq.testing.harness import scan_all

from tests.servers.nats import new_namespace, shared_server
from tests.servers.proxy import Proxy

SECOND = 1_000_000


@pytest.fixture
def namespace() -> str:
    return new_namespace()


@pytest.fixture
def url(namespace: str) -> str:
    return f"{shared_server().url}?namespace={namespace}"


@asynccontextmanager
async def _jetstream() -> AsyncIterator[JetStreamContext]:
    """A plain client."""
    client = await nats.connect(shared_server().url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


def _record(key: str, *, partition: str = "p", rank: int = 0, body: bytes = b"body") -> Record:
    return Record("task", key, partition, "pending", rank, 0, None, 0, 1, 1, 1, 7, body)


def _event(ts: int) -> TaskEvent:
    return TaskEvent(ts, "task.started", f"t{ts}", "f", "default", "w", 1, None, None)


def _picture(store: Store) -> nats_aside.Snapshot:
    with store.state as replica:
        return nats_aside.Snapshot(replica, store.state.made)


async def _everything(driver: NATSDriver) -> Any:
    """All that anybody can ask of a store."""
    return (
        await scan_all(driver, Filter(kind="task"), limit=50),
        await scan_all(driver, Filter(kind="task", expires_before=100), limit=50),
        await driver.count("task"),
        await driver.query(EventFilter()),
        await driver.log_end(10),
        await driver.read_log("0.0", 10_000),
    )


class _User:
    """Does this and that to a store, at random."""

    def __init__(self, driver: NATSDriver, seed: int) -> None:
        self._driver, self._seed = driver, seed
        self._chance = random.Random(seed)

    async def work(self, rounds: int) -> None:
        for n in range(rounds):
            await self._driver.write(self._inserts(n))
            held = await self._driver.claim("task", None, f"w{self._seed}", 5, 600 * SECOND)
            await self._driver.write([op for record in held for op in self._changes(record, n)])

    def _inserts(self, n: int) -> list[Op]:
        ops: list[Op] = []
        for each in range(self._chance.randrange(1, 8)):
            body = self._chance.randbytes(self._chance.choice([0, 10, 1000, 20_000]))
            key = f"{self._chance.randrange(200):03}-{self._seed}"  # some are there already
            ops.append(Insert(_record(key, partition=f"p{each % 3}", rank=each % 2, body=body)))
            ops.append(Append((_event(n * 10 + each),), len(ops) - 1))
        return ops

    def _changes(self, held: Record, n: int) -> list[Op]:
        done = Record(held.kind, held.key, held.partition, "done", 0, None, None, 1, 0, 1, n, 7 + n, b"done")
        what: list[Op] = self._chance.choice([[Delete(held)], [Extend(held, 1)], [Replace(done, held)], []])
        return [*what, Append((_event(n),))]


async def test_newcomer_from_a_snapshot_knows_what_the_others_know(
    url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_aside, "_ROWS", 20)
    monkeypatch.setattr(nats_aside, "_SEGMENTS", 20)
    monkeypatch.setattr("omniq.backends.nats_store._LARGEST", 4000)  # so most transactions are several messages
    async with AsyncExitStack() as stack:
        options = {"snapshot_bytes": 30_000}
        drivers = [await stack.enter_async_context(NATSDriver(url, options=options)) for _ in range(3)]
        for _ in range(3):
            users = [_User(driver, seed) for seed, driver in enumerate(drivers)]
            await asyncio.gather(*(user.work(25) for user in users))
            expected = await _everything(drivers[0])
            for driver in drivers[1:]:
                assert await _everything(driver) == expected
            # Some snapshots lie behind the log's end, so the newcomer begins with one and goes on with the log.
            async with NATSDriver(url) as newcomer:
                assert await _everything(newcomer) == expected
            # With its events trimmed, the log is cut behind the snapshot, and can't be read from its beginning.
            await drivers[0].trim_log(200)
            async with NATSDriver(url) as newcomer:
                assert await _everything(newcomer) == await _everything(drivers[0])
    async with _jetstream() as jetstream:
        log = (await jetstream.stream_info(f"OMNIQ_{namespace}")).state
        assert log.first_seq > 100
        aside = f"OMNIQ_{namespace}_ASIDE"
        subjects = (
            await jetstream.stream_info(aside, subjects_filter=f"omniq.{namespace}.aside.manifest")
        ).state.subjects
        assert subjects == {f"omniq.{namespace}.aside.manifest": 1}, "earlier snapshots are still there"


async def test_position_stands_though_all_events_were_trimmed(url: str) -> None:
    async with NATSDriver(url) as driver:
        await driver.write([Append((_event(1), _event(2)))])
        _, position = await driver.log_end()
        await driver.trim_log(100)
        store = driver._store
        assert store._aside is not None
        await store._aside.save(_picture(store))
        async with NATSDriver(url) as newcomer:
            assert await newcomer.log_end(5) == ([], position)
            await newcomer.write([Append((_event(3),))])
            assert [event.ts for event in (await newcomer.read_log(position))[0]] == [3]


async def test_of_two_snapshots_at_once_one_counts(url: str) -> None:
    async with NATSDriver(url) as driver, NATSDriver(url) as other:
        await driver.write([Insert(_record("a"))])
        assert await other.count("task") == {("p", "pending"): 1}
        slow, fast = driver._store, other._store
        assert slow._aside is not None
        assert fast._aside is not None
        early = _picture(slow)
        find = slow._aside._find
        found = await find()

        async def found_before_the_other_wrote() -> Any:
            return found

        await other.write([Insert(_record("b"))])
        assert await fast._aside.save(_picture(fast)) is not None
        slow._aside._find = found_before_the_other_wrote  # type: ignore[method-assign]
        assert await slow._aside.save(early) is None
        replica, _ = await fast._aside.load() or (None, None)
        assert replica is not None
        assert set(replica.shelf("task").rows) == {"a", "b"}


async def test_no_snapshot_is_taken_within_a_transaction(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who started from it would never see the transaction that had begun before."""
    async with NATSDriver(url, options={"snapshot_bytes": 2000}) as driver, NATSDriver(url) as other:
        log, store = await other._store.connected(), other._store
        from omniq.backends.nats_wire import encode_request, frames, wire_op

        request = [wire_op(Insert(_record("slow", body=bytes(3000))))]
        first, second = frames(b"w" * 16, 1, [encode_request(request)], 2000)
        await log.publish([first], "slow.0")
        for n in range(10):
            await driver.write([Insert(_record(f"{n}", body=bytes(1000)))])
        await log.publish([second], "slow.1")
        await driver.write([Insert(_record("last"))])
        while driver._store._care:
            await asyncio.sleep(0.01)
        assert store._aside is not None
        assert await store._aside.load() is not None, "there is a snapshot after all"
        async with NATSDriver(url) as newcomer:
            found = [record.key for record in (await newcomer.scan(Filter(kind="task"))).records]
        assert found == [*(f"{n}" for n in range(10)), "last", "slow"]


# --- a driver and its clones ---


class _Thread:
    """A thread with a loop of its own, and on it a clone."""

    def __init__(self, clone: NATSDriver) -> None:
        self.clone = clone
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)

    async def __aenter__(self) -> _Thread:
        self._thread.start()
        await self.run(self.clone.open())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.run(self.clone.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(self.begin(work))


def _cut(driver: NATSDriver) -> None:
    if (connection := driver._store._connection) is not None:  # else it is just being made anew
        connection.lose("the test cuts it")


async def test_driver_and_clone_share_what_they_know(url: str) -> None:
    async with NATSDriver(url) as driver:
        await driver.write([Insert(_record("a"))])
        async with _Thread(driver.clone()) as thread:
            state = driver._store.state
            assert thread.clone._store.state is state
            assert state.followers == 1
            assert await thread.run(thread.clone.count("task")) == {("p", "pending"): 1}
            await thread.run(thread.clone.write([Insert(_record("b"))]))
            assert await driver.count("task") == {("p", "pending"): 2}
            assert state.followers == 1, "the clone followed the log, though it had no need to"


async def test_clone_goes_on_while_the_drivers_loop_is_blocked(url: str) -> None:
    async with NATSDriver(url) as driver, NATSDriver(url) as other, _Thread(driver.clone()) as thread:
        await driver.write([Insert(_record("a"))])
        (held,) = await driver.claim("task", None, "w", 1, SECOND)
        writing = [thread.begin(thread.clone.write([Extend(held, n)])) for n in range(3)]
        assert [each.result(timeout=10) for each in writing] == [[True]] * 3  # blocks this loop, and so the driver
        assert driver._store.state.followers == 2
        await other.write([Insert(_record("b"))])
        assert (await driver.get([("task", "a")]))[0] == replace(held, due_at=2)
        assert await driver.count("task") == {("p", "pending"): 1, ("p", "running"): 1}


async def test_clone_outlives_the_driver(url: str) -> None:
    driver = NATSDriver(url)
    await driver.open()
    async with _Thread(driver.clone()) as thread:
        await driver.close()
        assert await thread.run(thread.clone.write([Insert(_record("a"))])) == [True]
        async with driver:
            assert await driver.count("task") == {("p", "pending"): 1}
            assert driver._store.state is thread.clone._store.state
    assert driver._shared.state is None, "the records stay in memory, and nobody needs them"


async def test_clone_hears_of_what_others_write(url: str) -> None:
    async with NATSDriver(url) as driver, NATSDriver(url) as other, _Thread(driver.clone()) as thread:

        async def wait_for_change() -> bool:
            with thread.clone.watch(claimable=True, others=True) as changes:
                listening.set()
                return await changes.wait(20)

        for writer in (driver, other):
            listening = threading.Event()
            waiting = thread.begin(wait_for_change())
            await asyncio.to_thread(listening.wait)
            await writer.write([Insert(_record(f"{id(writer)}"))])
            assert await asyncio.wrap_future(waiting)
        listening = threading.Event()
        waiting = thread.begin(wait_for_change())
        await asyncio.to_thread(listening.wait)
        await thread.run(thread.clone.write([Insert(_record("own"))]))
        assert not waiting.done()
        await other.write([Insert(_record("not own"))])
        assert await asyncio.wrap_future(waiting)


async def test_drivers_of_several_threads_agree(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omniq.backends.nats_store._LARGEST", 4000)
    monkeypatch.setattr("omniq.backends.nats_store._PATIENCE_SECONDS", 0.001)  # so several of them follow the log
    async with AsyncExitStack() as stack:
        driver = await stack.enter_async_context(NATSDriver(url, options={"snapshot_bytes": 30_000}))
        threads = [await stack.enter_async_context(_Thread(driver.clone())) for _ in range(3)]
        working = [thread.begin(_User(thread.clone, n).work(60)) for n, thread in enumerate(threads)]
        for n in range(20):
            for thread in threads[: n % 3]:
                # Not so often that a call finds the connection cut at each of its tries.
                if n % 4 == 0:
                    thread.loop.call_soon_threadsafe(_cut, thread.clone)
            await _everything(driver)
            await asyncio.sleep(0.02)
        for each in working:
            await asyncio.wrap_future(each)
        expected = await _everything(driver)
        for thread in threads:
            assert await thread.run(_everything(thread.clone)) == expected
        async with NATSDriver(url) as newcomer:
            assert await _everything(newcomer) == expected


# --- large bodies ---


async def test_large_bodies_go_when_their_records_do(url: str, namespace: str) -> None:
    async with NATSDriver(url) as driver, _jetstream() as jetstream:

        async def blobs() -> int:
            while driver._store._care:
                await asyncio.sleep(0.01)
            info = await jetstream.stream_info(f"OMNIQ_{namespace}_ASIDE")
            return info.state.messages

        large = _record("large", body=bytes(3_000_000))  # takes several messages
        await driver.write([Insert(large)])
        several = await blobs()
        assert several >= 3
        await driver.write([Insert(_record("large", body=bytes(50_000)))])  # is there already
        assert await blobs() == several
        (held,) = await driver.claim("task", None, "w", 1, SECOND)
        assert held.body == large.body
        small = Record("task", "large", "p", "done", 0, None, None, 1, 0, 1, 2, None, bytes(20_000))
        assert await driver.write([Replace(small, held)]) == [True]
        assert await blobs() == 1
        (stored,) = await driver.get([("task", "large")])
        assert stored is not None
        assert await driver.write([Delete(stored)]) == [True]
        assert await blobs() == 0


async def test_options_reach_the_stream(url: str, namespace: str) -> None:
    options = {"storage": "memory", "max_bytes": 10_000_000, "compression": "s2"}
    async with NATSDriver(url, options=options), _jetstream() as jetstream:
        config = (await jetstream.stream_info(f"OMNIQ_{namespace}")).config
        assert (config.storage, config.max_bytes, config.compression) == ("memory", 10_000_000, "s2")


async def test_a_server_that_takes_nothing_more_holds_up_neither_a_call_nor_the_closing(
    namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A large value is on its way, more than a network takes in for a server that does not read."""
    async with Proxy(shared_server().port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}?namespace={namespace}"
        driver = NATSDriver(url, options={"timeout": 0.5})
        await driver.open()
        proxy.stalls = True
        large = _record("large", body=bytes(30_000_000))
        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailableError, match="no answer"):
                await driver.write([Insert(large)])
            await driver.close()
    del large
    gc.collect()  # asyncio tells of an error that nobody saw when it goes
    assert [each for each in caplog.records if each.name == "asyncio"] == []
