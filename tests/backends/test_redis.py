"""What is particular to the Redis driver: round trips, batches in parts, the store's clock, a cluster's addresses."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from msgspec.structs import replace
from omniq.backends import redis as module
from omniq.backends import redis_clock
from omniq.backends.redis import RedisDriver
from omniq.backends.redis_calls import Calls
from omniq.backends.redis_clock import StoreClock
from omniq.models.event import TaskEvent
from omniq.models.record import Append, EventFilter, Filter, Insert, Op, Record, Replace
from omniq.storage.driver import Standing
from omniq.testing.clock import FakeClock
from omniq.testing.harness import scan_all

from tests.servers.process import free_port
from tests.servers.redis import RedisCluster, RedisServer

SECOND = 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def _record(key: str, *, partition: str = "default", created_at: int = 1, **others: Any) -> Record:
    record = Record("task", key, partition, "pending", 0, 0, None, 0, 1, created_at, 1, None, b"body")
    return replace(record, **others)


def _called(server: RedisServer, command: str) -> int:
    with server.client() as client:
        stats = client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


def _scripts_run(server: RedisServer) -> int:
    return _called(server, "evalsha")


# --- round trips ---


async def test_concurrent_writes_share_round_trips(server: RedisServer) -> None:
    async with RedisDriver(server.url(uuid.uuid4().hex)) as driver:
        await driver.write([Insert(_record("first"))])
        before = _scripts_run(server)
        outcomes = await asyncio.gather(*(driver.write([Insert(_record(f"{n:03}"))]) for n in range(200)))
        assert outcomes == [[True]] * 200
        assert _scripts_run(server) - before <= 2


async def test_a_task_in_a_batch_takes_a_fraction_of_a_round_trip(server: RedisServer) -> None:
    async with RedisDriver(server.url(uuid.uuid4().hex)) as driver:
        await driver.claim("task", None, "me", 1, SECOND)
        before = _scripts_run(server)
        await driver.write([Insert(_record(f"{n:04}")) for n in range(1000)])
        held = await driver.claim("task", None, "me", 1000, 60 * SECOND)
        ops: list[Op] = []
        for n, record in enumerate(held):
            done = Record("task", record.key, "default", "done", 0, None, None, 1, 0, 1, 2, None, b"")
            ops += [Replace(done, record), Append((TaskEvent(ts=n, event_type="t"),), 2 * n)]
        assert all(await driver.write(ops))
        assert _scripts_run(server) - before == 3


async def test_what_is_handed_over_costs_no_more_however_many_wait(server: RedisServer) -> None:
    """A lone record is offered to one of them; of many records, each takes his share by a claim."""
    standing = Standing(60 * SECOND, 2 * SECOND)
    async with RedisDriver(server.url(uuid.uuid4().hex)) as driver:
        with driver.watch(claimable=True) as changes:
            assert await changes.wait(30)  # the subscription stands
            owners = [f"owner {n}" for n in range(50)]

            async def stand() -> None:
                for owner in owners:
                    assert await driver.claim_or_stand("task", None, owner, 10, SECOND, standing) == []

            await stand()
            before = _looks_for_listeners(server)
            await driver.write([Insert(_record("lone"))])
            assert _looks_for_listeners(server) - before == 1
            while not (given := [each for owner in owners for each in driver.handed_over(owner, 10)]):
                assert await changes.wait(30)
                changes.clear()
            assert [record.key for record in given] == ["lone"]
            before = _looks_for_listeners(server)
            await driver.write([Insert(_record(f"{n:04}")) for n in range(1000)])
            assert _looks_for_listeners(server) == before
            assert len(await driver.claim("task", None, "me", 2000, SECOND)) == 1000


def _looks_for_listeners(server: RedisServer) -> int:
    return _called(server, "pubsub|shardnumsub")


# --- batches ---


async def test_batch_beyond_the_bound_goes_in_parts_and_keeps_its_ties(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OPS_PER_BATCH", 3)
    async with RedisDriver(server.url(uuid.uuid4().hex)) as driver:
        await driver.write([Insert(_record("there"))])
        ops: list[Op] = [
            Insert(_record("a")),
            Insert(_record("there")),
            Insert(_record("b"), after=0),
            Insert(_record("c"), after=0),  # of the part before: it applied
            Insert(_record("d"), after=1),  # of the part before: it did not
            Insert(_record("e"), after=3),  # of its own part
            Append((TaskEvent(ts=1, event_type="no"),), after=4),
            Append((TaskEvent(ts=1, event_type="yes"),), after=5),
        ]
        assert await driver.write(ops) == [True, False, True, True, False, True, False, True]
        found = await scan_all(driver, Filter(kind="task"))
        assert [record.key for record in found] == ["a", "b", "c", "e", "there"]
        assert (await driver.query(EventFilter()))["event_type"] == ["yes"]


async def test_addition_by_itself_leaves_and_tells_what_one_in_a_batch_does(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_itself = await _what_additions_do(server)
    monkeypatch.setattr("omniq.backends.redis_codec.Packer.is_addition", lambda *_: False)
    assert by_itself == await _what_additions_do(server)
    outcomes, handed, stored = by_itself
    assert outcomes == [[True, True]] * 7 + [[False, False]]
    assert [[record.key for record in records] for records in handed] == [["due"], ["other"], []]
    assert stored["partitions:task"] == {b"p"}, "what was handed over is not ready"


async def _what_additions_do(server: RedisServer) -> tuple[list[list[bool]], list[list[Record]], dict[str, Any]]:
    """Add records one by one, beside claims that stand; gives outcomes, what was handed over, and what is stored."""
    namespace, clock = uuid.uuid4().hex, FakeClock()
    now, later = clock(), clock() + SECOND
    told_before = _called(server, "spublish")
    records = [
        _record("never", due_at=None),
        _record("later", due_at=later),
        _record("later and expiring", due_at=later, expires_at=later),
        _record("due", partition="p", due_at=now, created_at=now),
        _record("due again", partition="p", due_at=now, rank=-5, expires_at=now),
        _record("other", partition="q", due_at=now, body=b"x" * 1000),
        _record("of a kind of its own", kind="queue", partition="q", due_at=now),
        _record("due", partition="q", due_at=now),
    ]
    async with RedisDriver(server.url(namespace), clock=clock) as driver:
        _calls(driver).writer = b"writer"
        async with RedisDriver(server.url(namespace), clock=clock) as claimer:
            with claimer.watch(claimable=True) as changes:
                assert await changes.wait(30)  # the subscription stands
                for owner, partitions, excluding in (("p", ["p"], []), ("not p", None, ["p"]), ("x", ["x"], [])):
                    standing = Standing(60 * SECOND, 2 * SECOND)
                    claim = claimer.claim_or_stand("task", partitions, owner, 5, SECOND, standing, excluding=excluding)
                    assert await claim == []
                outcomes = []
                for record in records:
                    event = TaskEvent(now, "task.enqueued", record.key, "f", record.partition)
                    outcomes.append(await driver.write([Insert(record), Append((event,) * len(record.key), 0)]))
                handed: list[list[Record]] = [[], [], []]
                while sum(map(len, handed)) < 2:
                    changes.clear()
                    for owner, of_owner in zip(("p", "not p", "x"), handed, strict=True):
                        of_owner += claimer.handed_over(owner, 10)
                    assert sum(map(len, handed)) == 2 or await changes.wait(30)
                claims = _calls(claimer).writer
    with server.client() as client:
        prefix = f"omniq:{{{namespace}}}:"
        stored = {key.decode().removeprefix(prefix): _value(client, key) for key in client.scan_iter(f"{prefix}*")}
    stored["standing:task"] = {owner: claim.replace(claims, b"") for owner, claim in stored["standing:task"].items()}
    stored["told"] = _called(server, "spublish") - told_before
    return outcomes, handed, stored


def _calls(driver: RedisDriver) -> Calls:
    assert driver._calls is not None
    return driver._calls


def _value(client: redis.Redis, key: bytes) -> Any:
    match client.type(key):
        case b"hash":
            return client.hgetall(key)
        case b"set":
            return client.smembers(key)
        case b"zset":
            return client.zrange(key, 0, -1, withscores=True)
        case b"list":
            return client.lrange(key, 0, -1)
        case kind:
            return kind, client.get(key)


async def test_many_partitions_are_merged_in_one_order(server: RedisServer) -> None:
    async with RedisDriver(server.url(uuid.uuid4().hex)) as driver:
        records = [_record(f"{n:04}", partition=f"p{n * 7 % 50}", created_at=n * 13 % 997) for n in range(1000)]
        await driver.write([Insert(record) for record in records])
        claimed = [record for _ in range(4) for record in await driver.claim("task", None, "me", 250, 60 * SECOND)]
        expected = sorted(records, key=lambda record: (record.created_at, record.key))
        assert [record.key for record in claimed] == [record.key for record in expected]


async def test_nothing_is_left_of_what_was_deleted(server: RedisServer) -> None:
    """A store that was emptied has no key left but its version, its log and what was last done."""
    from omniq.models.record import Delete

    namespace = uuid.uuid4().hex
    async with RedisDriver(server.url(namespace)) as driver:
        records = [_record(f"{n:03}", partition=f"p{n % 5}") for n in range(100)]
        await driver.write([Insert(record) for record in records])
        held = await driver.claim("task", None, "me", 50, 60 * SECOND)
        await driver.write([Delete(record) for record in held])
        rest = await scan_all(driver, Filter(kind="task"))
        await driver.write([Delete(record) for record in rest])
    with server.client() as client:
        prefix = f"omniq:{{{namespace}}}:"
        left = {key.decode().removeprefix(prefix).partition(":")[0] for key in client.scan_iter(f"{prefix}*")}
    assert left == {"meta", "call", "claim"}


# --- the clock ---


async def test_claim_by_a_clock_that_has_gone_back_says_when_to_look_again(server: RedisServer) -> None:
    clock = FakeClock()
    async with RedisDriver(server.url(uuid.uuid4().hex), clock=clock) as driver:
        due_at = clock()
        # More than one claim looks at.
        records = [replace(_record(f"{n:04}", partition=f"p{n % 3}"), due_at=due_at) for n in range(6000)]
        await driver.write([Insert(record) for record in records])
        clock.now -= 50_000
        for _ in range(3):
            assert await driver.claim("task", None, "me", 2, SECOND) == []
            assert await driver.next_due("task") == due_at
        clock.now = due_at
        claimed = [record for _ in range(3) for record in await driver.claim("task", None, "me", 3000, SECOND)]
        assert sorted(record.key for record in claimed) == [record.key for record in records]


class _Machine:
    """A machine's monotonic clock, in microseconds, and a server's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.ahead = 1_000_000, 5_000_000_000
        monkeypatch.setattr(redis_clock, "monotonic", lambda: self.now)

    def call(self, clock: StoreClock, there: int, back: int) -> None:
        """A call that takes so long on its way there and back."""
        sent_at = self.now
        self.now += there
        moment = self.now + self.ahead
        self.now += back
        clock.learn(sent_at, moment)

    @property
    def server(self) -> int:
        return self.now + self.ahead


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> _Machine:
    return _Machine(monkeypatch)


def test_clock_is_the_servers_but_for_the_fastest_way_back(machine: _Machine) -> None:
    clock = StoreClock()
    machine.call(clock, 100, 900)
    assert clock() == machine.server - 900
    machine.call(clock, 100, 200)
    assert clock() == machine.server - 200
    machine.call(clock, 5000, 700_000)  # the loop was busy when the answer came
    assert clock() == machine.server - 200


def test_clock_never_runs_ahead_and_never_back(machine: _Machine) -> None:
    clock, last = StoreClock(), 0
    for n in range(1000):
        machine.call(clock, n * 37 % 400, n * 91 % 700)
        machine.ahead += n % 3 - 1  # the two drift
        shown = clock()
        assert last <= shown <= machine.server + 700
        last = shown


def test_clock_follows_a_server_whose_clock_was_set(machine: _Machine) -> None:
    clock = StoreClock()
    machine.call(clock, 100, 100)
    assert clock() == machine.server - 100
    machine.ahead += 3600 * SECOND
    machine.call(clock, 100, 100)
    assert clock() == machine.server - 100
    machine.ahead -= 7200 * SECOND
    machine.call(clock, 100, 100)
    assert clock() == machine.server - 100


async def test_all_clones_know_the_same_clock(server: RedisServer) -> None:
    async with RedisDriver(server.url(uuid.uuid4().hex)) as driver, driver.clone() as clone:
        assert clone.clock is driver.clock
        with server.client() as client:
            seconds, micros = client.time()
        assert abs(driver.clock() - (seconds * SECOND + micros)) < SECOND


# --- a cluster ---


@pytest.mark.slow
async def test_any_node_that_lives_leads_to_the_cluster(tmp_path: Any) -> None:
    with RedisCluster(tmp_path, durable=False) as cluster:
        dead = f"127.0.0.1:{free_port()}"
        for node in cluster.nodes:
            async with RedisDriver(f"redis+cluster://{dead},127.0.0.1:{node.port}?namespace=n") as driver:
                await driver.write([Insert(_record(f"{node.port}"))])
        # A plain URL of any node works as well: it follows to the one that has the slot.
        async with RedisDriver(cluster.nodes[1].url("n")) as driver:
            assert await driver.count("task") == {("default", "pending"): 3}
