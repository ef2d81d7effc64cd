"""What is particular to PostgreSQL: the user's own transactions, the log's order, plans, counters, options."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from omniq import AsyncOmniQ, ConfigError, OptionError
from omniq.backends import postgres_events, postgres_read
from omniq.backends.postgres import PostgresDriver
from omniq.backends.postgres_pool import Connections
from omniq.backends.postgres_read import Statement
from omniq.backends.postgres_schema import SCHEMA_VERSION
from omniq.clock import SECOND
from omniq.models.event import TaskEvent
from omniq.models.record import Append, EventFilter, Filter, Insert, Op, Record, Replace

from ..servers.postgres import PostgresServer, bare, namespace_of, shared_server

MILLION = 1_000_000
SUPPORT = Path(__file__).parent / "support"
SECRET = "a secret of enough bytes"


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    """The server that all tests share."""
    return shared_server()


@pytest.fixture
async def url(server: PostgresServer) -> AsyncIterator[str]:
    """An empty store."""
    url = server.url()
    yield url
    server.run(f'DROP SCHEMA IF EXISTS "{namespace_of(url)}" CASCADE')


OpenDriver = Callable[..., Any]


@pytest.fixture
async def open_driver() -> AsyncIterator[OpenDriver]:
    """Opens drivers, and closes them after the test."""
    async with AsyncExitStack() as closing:

        async def opened(url: str, **options: Any) -> PostgresDriver:
            return await closing.enter_async_context(PostgresDriver(url, options=options))

        yield opened


@pytest.fixture
async def user(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the user's own."""
    connection = await asyncpg.connect(bare(url))
    yield connection
    await connection.close()


def _record(key: str, driver: PostgresDriver, **changes: Any) -> Record:
    now = driver.clock()
    return replace(Record("task", key, "default", "pending", 0, now, None, 0, 1, now, now, None, b"body"), **changes)


def _event(n: int) -> TaskEvent:
    return TaskEvent(ts=n, event_type="t", task_id=f"{n}")


async def _read(driver: PostgresDriver, position: str, limit: int = 1000) -> tuple[list[str | None], str]:
    events, after = await driver.read_log(position, limit)
    return [event.task_id for event in events], after


# --- the user's own transaction ---


async def test_what_a_transaction_wrote_is_there_when_it_commits(
    url: str, open_driver: OpenDriver, user: asyncpg.Connection
) -> None:
    driver, other = await open_driver(url), await open_driver(url)
    ops: list[Op] = [Insert(_record("a", driver)), Append((_event(1),), after=0), Insert(_record("a", driver))]
    with other.watch(claimable=True) as theirs, driver.watch(claimable=True, others=True) as ours:
        assert await theirs.wait(30), "it has begun to listen"
        assert await ours.wait(30)
        async with user.transaction():
            theirs.clear()
            ours.clear()
            assert await driver.write_within(user, ops) == [True, True, False]
            assert await other.get([("task", "a")]) == [None]
            assert await other.claim("task", None, "w", 10, SECOND) == []
            assert await other.count("task") == {}
            assert (await other.query(EventFilter()))["ts"] == []
            assert not await theirs.wait(0.1), "a hint came before there was anything to find"
        assert await theirs.wait(30), "no hint came with the commit"
        assert await ours.wait(30), "the driver's own workers got no hint"
    (claimed,) = await other.claim("task", None, "w", 10, SECOND)
    assert claimed.key == "a"
    assert (await other.query(EventFilter()))["task_id"] == ["1"]


async def test_rolled_back_transaction_leaves_nothing(
    url: str, open_driver: OpenDriver, user: asyncpg.Connection
) -> None:
    driver = await open_driver(url)
    stays = _record("stays", driver)
    await driver.write([Insert(stays)])
    many: list[Op] = [Insert(_record(f"{n:05}", driver)) for n in range(6000)]  # more than one call
    transaction = user.transaction()
    await transaction.start()
    assert await driver.write_within(user, [*many, Replace(replace(stays, state="done"), stays)]) == [True] * 6001
    assert await driver.write_within(user, [Append((_event(1),))]) == [True]
    await transaction.rollback()
    assert (await driver.scan(Filter(kind="task"))).records == [stays]
    assert await driver.count("task") == {("default", "pending"): 1}
    assert (await driver.query(EventFilter()))["ts"] == []


async def test_savepoint_that_is_rolled_back_takes_only_its_own_with_it(
    url: str, open_driver: OpenDriver, user: asyncpg.Connection
) -> None:
    driver = await open_driver(url)
    _, position = await driver.log_end()
    async with user.transaction():
        await driver.write_within(user, [Insert(_record("a", driver)), Append((_event(1),))])
        inner = user.transaction()
        await inner.start()
        await driver.write_within(user, [Insert(_record("b", driver)), Append((_event(2),))])
        await inner.rollback()
        await driver.write_within(user, [Insert(_record("c", driver)), Append((_event(3),))])
    assert [record.key for record in (await driver.scan(Filter(kind="task"))).records] == ["a", "c"]
    assert (await _read(driver, position))[0] == ["1", "3"]


async def test_connection_without_a_transaction_is_refused(
    url: str, open_driver: OpenDriver, user: asyncpg.Connection
) -> None:
    driver = await open_driver(url)
    for connection in (user, object()):
        with pytest.raises(OptionError, match="inside a transaction"):
            await driver.write_within(connection, [Insert(_record("a", driver))])
    assert await driver.count("task") == {}


async def test_pool_s_connection_will_do(url: str, open_driver: OpenDriver) -> None:
    driver = await open_driver(url)
    async with (
        asyncpg.create_pool(bare(url), min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        assert await driver.write_within(connection, [Insert(_record("a", driver))]) == [True]
    assert await driver.count("task") == {("default", "pending"): 1}


# --- the log ---


async def test_transactions_that_commit_in_another_order_than_they_began(
    url: str, open_driver: OpenDriver, user: asyncpg.Connection
) -> None:
    driver = await open_driver(url)
    await driver.write([Append((_event(0),))])
    _, position = await driver.log_end()
    early = user.transaction()
    await early.start()
    await driver.write_within(user, [Append((_event(1), _event(2), _event(3)))])
    await driver.write([Append((_event(4),))])
    seen, between = await _read(driver, position)
    assert seen == ["4"], "a long transaction held the others' events up"
    _, end = await driver.log_end()
    await early.commit()
    # Whoever read before the commit gets what is late; page by page, nothing twice.
    first, between = await _read(driver, between, 2)
    assert first == ["1", "2"]
    await driver.write([Append((_event(5),))])
    second, between = await _read(driver, between, 2)
    assert second == ["3", "5"]
    assert await driver.read_log(between) == ([], between)
    assert (await _read(driver, end))[0] == ["1", "2", "3", "5"]
    assert (await _read(driver, position))[0] == ["1", "2", "3", "4", "5"]


async def test_several_transactions_are_late(url: str, open_driver: OpenDriver) -> None:
    driver = await open_driver(url)
    _, position = await driver.log_end()
    async with AsyncExitStack() as closing:
        pool = await closing.enter_async_context(asyncpg.create_pool(bare(url), min_size=5, max_size=5))
        users = [await closing.enter_async_context(pool.acquire()) for _ in range(5)]
        transactions = [each.transaction() for each in users]
        for n, each in enumerate(users):
            await transactions[n].start()
            await driver.write_within(each, [Append((_event(10 * n), _event(10 * n + 1)))])
        seen: list[str | None] = []
        for n in (3, 1, 4, 0):
            await transactions[n].commit()
            for limit in (1, 1000):
                page, position = await _read(driver, position, limit)
                seen += page
        await transactions[2].rollback()
        page, position = await _read(driver, position)
        assert page == []
        assert seen == [f"{10 * n + k}" for n in (3, 1, 4, 0) for k in (0, 1)]
        await driver.write([Append((_event(99),))])
        assert (await _read(driver, position))[0] == ["99"]


async def test_store_restored_into_another_server_goes_on(
    server: PostgresServer, url: str, open_driver: OpenDriver
) -> None:
    """Transaction ids begin anew there; what is appended now must not be behind what was appended then."""
    driver = await open_driver(url)
    await driver.write([Append((_event(1), _event(2)))])
    server.run(f"UPDATE \"{namespace_of(url)}\".events SET xid = '99999999999'")
    restored = await open_driver(url)
    events, position = await restored.log_end(10)
    assert [event.task_id for event in events] == ["1", "2"]
    await restored.write([Append((_event(3),))])
    assert (await _read(restored, position))[0] == ["3"]


async def test_latest_events_are_found_in_rows_that_overlap(url: str, open_driver: OpenDriver) -> None:
    driver = await open_driver(url)
    generator = random.Random(7)
    events: list[TaskEvent] = []
    for n in range(150):
        row = [
            TaskEvent(ts=generator.randrange(1000), event_type=generator.choice("abc"), task_id=f"{n}.{k}")
            for k in range(generator.randrange(1, 5))
        ]
        await driver.write([Append(tuple(row))])
        events += row
    events.sort(key=lambda event: event.ts)
    for before in (0, 400):
        assert await driver.trim_log(before) == sum(event.ts < before for event in events)
        events = [event for event in events if event.ts >= before]
        for types in ((), ("a",), ("a", "b")):
            wanted = [event.task_id for event in events if not types or event.event_type in types]
            for limit in (1, 20, 100, 1000):
                found = await driver.query(EventFilter(types=types, limit=limit))
                assert found["task_id"] == wanted[-limit:]


# --- claims ---


async def test_claims_of_several_partitions_do_not_hide_records_from_each_other(
    url: str, open_driver: OpenDriver, user: asyncpg.Connection
) -> None:
    """One claim is under way, uncommitted; whatever it does not take is there for the next."""
    driver = await open_driver(url)
    partitions = ["a", "b", "c"]
    records = [_record(f"{name}{n}", driver, partition=name, rank=n) for name in partitions for n in range(4)]
    await driver.write([Insert(record) for record in records])
    async with user.transaction():
        taken = await user.fetch(
            f'SELECT key FROM "{namespace_of(url)}".claim(NULL, NULL, false, $1, $2, $3, $4, $5, $6)',
            "task", partitions, [], "other", 5, SECOND,
        )  # fmt: skip
        assert [key for (key,) in taken] == ["a0", "b0", "c0", "a1", "b1"]
        mine = await driver.claim("task", partitions, "mine", 12, SECOND)
        assert sorted(record.key for record in mine) == ["a2", "a3", "b2", "b3", "c1", "c2", "c3"]


async def test_claim_that_comes_after_its_deadline_does_nothing(
    url: str, open_driver: OpenDriver, user: asyncpg.Connection
) -> None:
    driver = await open_driver(url)
    await driver.write([Insert(_record("a", driver))])
    claim = f'SELECT key FROM "{namespace_of(url)}".claim(NULL, $1, false, $2, NULL, $3, $4, 1, 1000)'
    assert await user.fetch(claim, driver.clock() - 1, "task", [], "late") == []
    assert len(await user.fetch(claim, driver.clock() + 60 * SECOND, "task", [], "in time")) == 1


async def test_clock_that_is_set_while_the_driver_works_is_noticed(
    url: str, open_driver: OpenDriver, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    driver = await open_driver(url)
    true_time = time.time_ns
    for off in (-90, 90):
        monkeypatch.setattr(time, "time_ns", lambda off=off: true_time() + off * 1_000_000_000)
        assert abs(driver.clock() - true_time() // 1000) > 80 * SECOND
        await driver.claim("task", None, "w", 1, SECOND)
        await until(lambda: abs(driver.clock() - true_time() // 1000) < SECOND)
        record = _record(f"{off}", driver)
        assert await driver.write([Insert(record)]) == [True]
        # A claim that counted as late would find nothing at all. (The clocks may still differ by what a call takes.)
        await until(lambda: driver.claim("task", None, "w", 1, SECOND))


# --- round trips ---


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with every statement that a driver sends."""
    sent: list[str] = []
    for name in ("fetch", "fetchval", "execute"):
        original = getattr(asyncpg.Connection, name)

        async def counted(self: Any, sql: str, *values: Any, original: Any = original, **options: Any) -> Any:
            sent.append(sql)
            return await original(self, sql, *values, **options)

        monkeypatch.setattr(asyncpg.Connection, name, counted)
    return sent


async def test_tasks_cost_few_round_trips(url: str, trips: list[str]) -> None:
    async with AsyncOmniQ(url, secret=SECRET) as app:

        @app.task(name="f")
        async def f(n: int) -> int:
            return n

        await f.enqueue(0)
        trips.clear()
        await f.map(range(10))
        assert sum(".write(" in sql for sql in trips) == 1
        assert len(trips) <= 2, "one, and a hint"
        trips.clear()
        for _ in range(3):
            await f.map(range(1000))
        assert sum(".write(" in sql for sql in trips) == 3
        assert len(trips) <= 4, "large ones take their hints along; one hint may be left of the writes before"
        trips.clear()
        async with app.workers(concurrency=100) as pool:
            await pool.drain()
        writes, claims = (sum(word in sql for sql in trips) for word in (".write(", ".claim("))
        assert writes <= 100, "settlements go out together"
        assert claims <= 100, "a claim takes as many as there is room for"
        transactions = [trips[at : at + 4] for at, sql in enumerate(trips) if sql == "BEGIN;"]
        assert transactions == [], "a settlement is one statement"


async def test_concurrent_writes_go_out_together(url: str, open_driver: OpenDriver, trips: list[str]) -> None:
    driver = await open_driver(url)
    await driver.write([Insert(_record("first", driver))])
    trips.clear()

    async def write(n: int) -> None:
        for _ in range(n % 3):
            await asyncio.sleep(0)
        assert await driver.write([Insert(_record(f"{n:03}", driver))]) == [True]

    await asyncio.gather(*(write(n) for n in range(100)))
    assert sum(".write(" in sql for sql in trips) <= 3


async def test_batch_of_thousands_is_one_transaction_of_few_calls(
    url: str, open_driver: OpenDriver, trips: list[str]
) -> None:
    driver = await open_driver(url)
    trips.clear()
    ops: list[Op] = []
    for n in range(10_000):
        ops += [Insert(_record(f"{n:05}", driver)), Append((_event(n),), after=2 * n)]
    assert await driver.write(ops) == [True] * 20_000
    assert sum(".write(" in sql for sql in trips) == 4
    assert len(trips) <= 8
    xids = await driver._connections.use(
        lambda connection: connection.fetchval(f'SELECT count(DISTINCT xid) FROM "{namespace_of(url)}".events')
    )
    assert xids == 1


# --- counters ---


async def test_counters_are_folded(server: PostgresServer, url: str, open_driver: OpenDriver, until: Any) -> None:
    driver = await open_driver(url)
    for n in range(450):
        await driver.write([Insert(_record(f"{n}", driver, partition=f"p{n % 2}"))])
    schema = f'"{namespace_of(url)}"'
    await until(lambda: server.run(f"SELECT count(*) FROM {schema}.changes")[0][0] < 200)
    assert await driver.count("task") == {("p0", "pending"): 225, ("p1", "pending"): 225}
    assert server.run(f"SELECT sum(n) FROM {schema}.counts")[0][0] >= 250


async def test_counters_follow_changes_by_hand(server: PostgresServer, url: str, open_driver: OpenDriver) -> None:
    driver = await open_driver(url)
    await driver.write([Insert(_record(f"{n}", driver)) for n in range(10)])
    schema = f'"{namespace_of(url)}"'
    server.run(f"DELETE FROM {schema}.records WHERE key < '3'")
    server.run(f"UPDATE {schema}.records SET state = 'failed', due_at = NULL WHERE key < '5'")
    assert await driver.count("task") == {("default", "pending"): 5, ("default", "failed"): 2}


# --- options ---


@pytest.mark.parametrize("parameter", ["colour=red", "statement_timeout=soon"])
async def test_parameter_that_the_server_does_not_know_is_no_damaged_store(url: str, parameter: str) -> None:
    with pytest.raises(ConfigError, match=f"has a parameter that neither .*{parameter.partition('=')[0]}") as caught:
        await PostgresDriver(f"{url}&{parameter}").open()
    assert "backup" not in str(caught.value)


async def test_works_without_listen(url: str, open_driver: OpenDriver) -> None:
    driver = await open_driver(f"{url}&listen=false")
    assert not driver.hears, "or workers would not look for queues that were paused or resumed"
    other = await open_driver(url)
    with driver.watch() as changes:
        changes.clear()
        await other.write([Insert(_record("a", driver))])
        assert not await changes.wait(0.2)
        changes.clear()
        await driver.write([Insert(_record("b", driver))])
        assert await changes.wait(30), "the driver's own writes need no LISTEN"


def test_hint_that_ended_with_its_loop_keeps_no_later_one(server: PostgresServer) -> None:
    url = server.url()
    ours, theirs = PostgresDriver(url), PostgresDriver(url)

    async def end_before_the_first_step() -> None:
        async with ours:
            ours._hints.ring(claimable=False, told=False)
            assert ours._hints._ringing is not None
            ours._hints._ringing.cancel()

    async def ring_again() -> None:
        async with asyncio.timeout(60), ours, theirs:
            with theirs.watch(others=True) as heard:
                assert await heard.wait(60)  # as soon as it listens
                heard.clear()
                ours._hints.ring(claimable=False, told=False)
                assert await heard.wait(60)

    asyncio.run(end_before_the_first_step())
    asyncio.run(ring_again())
    server.run(f'DROP SCHEMA IF EXISTS "{namespace_of(url)}" CASCADE')


async def test_works_without_prepared_statements(url: str, open_driver: OpenDriver) -> None:
    """As behind PgBouncer in transaction mode."""
    driver = await open_driver(f"{url}&prepared=false&listen=false")
    await driver.write([Insert(_record("a", driver)), Append((_event(1),))])
    (held,) = await driver.claim("task", ["default"], "w", 5, SECOND)
    assert await driver.write([Replace(replace(held, state="done", due_at=None), held)]) == [True]
    assert await driver.count("task") == {("default", "done"): 1}
    assert (await driver.query(EventFilter()))["task_id"] == ["1"]
    left = await driver._connections.use(lambda connection: connection.fetch("SELECT name FROM pg_prepared_statements"))
    assert left == []


async def test_namespaces_keep_stores_apart(server: PostgresServer, open_driver: OpenDriver) -> None:
    first, second = (server.url(name) for name in ("Apart-1", "apart.2"))
    ours, theirs = await open_driver(first), await open_driver(second)
    try:
        await ours.write([Insert(_record("a", ours)), Append((_event(1),))])
        assert await theirs.get([("task", "a")]) == [None]
        assert await theirs.count("task") == {}
        assert (await theirs.query(EventFilter()))["ts"] == []
    finally:
        for name in ("Apart-1", "apart.2"):
            server.run(f'DROP SCHEMA "{name}" CASCADE')


async def test_durability_full_turns_on_what_the_server_has_off(
    server: PostgresServer, url: str, open_driver: OpenDriver, user: asyncpg.Connection
) -> None:
    await open_driver(url)
    schema = f'"{namespace_of(url)}"'
    nothing = ", ".join(["NULL"] * (sum(1 for _ in _write_parameters(server, schema)) - 2))
    async with user.transaction():
        await user.execute("SET LOCAL synchronous_commit = off")
        await user.execute(f"SELECT {schema}.write(NULL, false, {nothing})")
        assert await user.fetchval("SHOW synchronous_commit") == "off"
        await user.execute(f"SELECT {schema}.write(NULL, true, {nothing})")
        assert await user.fetchval("SHOW synchronous_commit") == "on"


def _write_parameters(server: PostgresServer, schema: str) -> Iterator[str]:
    found = server.run(
        "SELECT unnest(proargnames) FROM pg_proc WHERE proname = 'write' AND pronamespace = $1::regnamespace", schema
    )
    yield from (name for (name,) in found)


async def test_pool_s_size_is_kept(url: str, open_driver: OpenDriver, server: PostgresServer) -> None:
    driver = await open_driver(url, pool_size=2)
    assert isinstance(driver._connections, Connections)
    await asyncio.gather(*(driver.count("task") for _ in range(50)))
    server_side = server.run(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'omniq' AND query LIKE $1",
        f"%{namespace_of(url)}%",
    )
    assert server_side[0][0] <= 2


# --- older versions ---

_FILL_VERSION_1 = (
    """
INSERT INTO {s}.records (kind, key, partition, state, rank, due_at, claims, version, created_at, updated_at, ready,
    body)
SELECT 'task', n::text, 'default', CASE WHEN n = 2 THEN 'running' ELSE 'pending' END, 0, n, 0, 1, n, n, false, 'body'
FROM generate_series(1, 5) AS n
""",
    "INSERT INTO {s}.events (ts, attempt, event_type, task_id) SELECT n, 0, 'a', n FROM generate_series(1, 2500) AS n",
    "INSERT INTO {s}.events (ts, attempt, event_type, duration) VALUES (7000, 1, 'b', .5), (5000, 2, 'b', NULL)",
)


async def test_store_of_version_1_goes_on(url: str, open_driver: OpenDriver, user: asyncpg.Connection) -> None:
    schema = f'"{namespace_of(url)}"'
    await user.execute((SUPPORT / "postgres_1.sql").read_text().replace("{s}", schema))
    for sql in _FILL_VERSION_1:
        await user.execute(sql.format(s=schema))
    driver, *_ = await asyncio.gather(*(open_driver(url, pool_size=1) for _ in range(5)))
    assert await user.fetchval(f"SELECT version FROM {schema}.version") == SCHEMA_VERSION
    events, position = await driver.read_log("0.0", 10_000)
    assert events[:2500] == [TaskEvent(n, "a", f"{n}") for n in range(1, 2501)]
    late, early = TaskEvent(7000, "b", attempt=1, duration=0.5), TaskEvent(5000, "b", attempt=2)
    assert events[2500:] == [late, early]
    assert (await driver.query(EventFilter(types=("b",))))["ts"] == [5000, 7000]
    assert [record.key for record in (await driver.scan(Filter(kind="task", state="running"))).records] == ["2"]
    claimed = await driver.claim("task", None, "w", 10, SECOND)
    assert [record.key for record in claimed] == ["1", "2", "3", "4", "5"]
    done = [Replace(replace(record, state="done", due_at=None), record) for record in claimed]
    assert all(await driver.write([*done, Append((_event(9000),))]))
    assert await driver.count("task") == {("default", "done"): 5}
    assert (await _read(driver, position))[0] == ["9000"]
    assert await driver.trim_log(6000) == 2501
    assert (await driver.query(EventFilter()))["ts"] == [7000, 9000]


_FILL_VERSION_2 = """
INSERT INTO {s}.records (kind, key, partition, state, rank, due_at, claims, version, created_at, updated_at, ready,
    body)
SELECT 'task', n::text, 'default', 'pending', 0, n, 0, 1, n, n, true, 'body' FROM generate_series(1, 5) AS n;
INSERT INTO {s}.events (n, min_ts, max_ts, ts, attempt, event_type, task_id)
SELECT 2000, 1, 2000, array_agg(n), '{{0}}', '{{a}}', array_agg(n::text) FROM generate_series(1, 2000) AS n;
"""


async def test_store_of_version_2_goes_on(url: str, open_driver: OpenDriver, user: asyncpg.Connection) -> None:
    schema = f'"{namespace_of(url)}"'
    await user.execute((SUPPORT / "postgres_2.sql").read_text().replace("{s}", schema))
    await user.execute(_FILL_VERSION_2.format(s=schema))
    driver, *_ = await asyncio.gather(*(open_driver(url, pool_size=1) for _ in range(5)))
    assert await user.fetchval(f"SELECT version FROM {schema}.version") == SCHEMA_VERSION
    claimed = await driver.claim("task", None, "w", 10, SECOND)
    assert [record.key for record in claimed] == ["1", "2", "3", "4", "5"]
    done = [Replace(replace(record, state="done", due_at=None), record) for record in claimed]
    many: list[Op] = [Insert(_record(f"{n:04}", driver)) for n in range(2000)]
    events = Append(tuple(_event(n) for n in range(2001, 4001)), after=0)
    assert all(await driver.write([*done, *many, events]))
    assert await driver.count("task") == {("default", "done"): 5, ("default", "pending"): 2000}
    found, _ = await driver.read_log("0.0", 10_000)
    assert [event.task_id for event in found] == [f"{n}" for n in range(1, 4001)]
    assert (await driver.query(EventFilter(task_id="3000")))["ts"] == [3000]


# --- a million records ---

_LOAD = """
INSERT INTO {s}.records (kind, key, partition, state, rank, due_at, owner, claims, version, created_at, updated_at,
    expires_at, ready, body)
SELECT 'task', lpad(n::text, 8, '0'), CASE WHEN n % 1000 = 0 THEN 'rare' ELSE 'p' || n % 3 END,
    CASE WHEN n % 10000 = 0 THEN 'failed' WHEN n % 10000 = 5 THEN 'running'
        WHEN n % 10 < 3 THEN 'succeeded' ELSE 'pending' END, n % 3,
    CASE WHEN n % 10 < 3 THEN NULL WHEN n % 10 < 6 THEN {later} + n ELSE 0 END, NULL, 0, 1, n, n,
    CASE WHEN n % 5 = 0 THEN n END, n % 10 >= 6, 'body'
FROM generate_series(1, {n}) AS n
"""
_LOAD_EVENTS = """
INSERT INTO {s}.events (n, min_ts, max_ts, ts, attempt, event_type, task_id, queue)
SELECT 4, n, n + 3, ARRAY[n, n + 1, n + 2, n + 3], '{{1}}', '{{task.succeeded}}',
    ARRAY[n::text, (n + 1)::text, (n + 2)::text, (n + 3)::text], '{{default}}'
FROM generate_series(1, {n} / 5, 4) AS n
"""


@pytest.fixture(scope="module")
def million(server: PostgresServer) -> Iterator[str]:
    """A store with a million tasks, and events."""
    url = server.url()
    asyncio.run(_load(url, MILLION))
    yield url
    server.run(f'DROP SCHEMA "{namespace_of(url)}" CASCADE')


async def _load(url: str, n: int) -> None:
    schema = f'"{namespace_of(url)}"'
    async with PostgresDriver(url) as driver:
        connection = await asyncpg.connect(bare(url))
        try:
            for sql in (_LOAD, _LOAD_EVENTS, "ANALYZE {s}.records, {s}.events"):
                await connection.execute(sql.format(s=schema, later=driver.clock() + 3600 * SECOND, n=n))
        finally:
            await connection.close()


async def _plan(driver: PostgresDriver, statement: Statement) -> dict[str, Any]:
    async def explain(connection: asyncpg.Connection) -> str:
        explained: str = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", *statement.values)
        return explained

    return dict(json.loads(await driver._connections.use(explain))[0]["Plan"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _met(node: dict[str, Any]) -> float:
    """How many rows a node of a plan meets."""
    met: float = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return met


def _assert_by_index(plan: dict[str, Any], index: str, rows: int) -> None:
    """The plan reads by this index, walks through no big table, and has no node that meets more rows than it should."""
    nodes = list(_nodes(plan))
    assert any(node.get("Index Name") == index for node in nodes), f"{index} is not used: {plan}"
    for node in nodes:
        if node["Node Type"] == "Seq Scan":
            assert node["Relation Name"] in ("counts", "changes")
        assert _met(node) <= rows, f"{node['Node Type']} meets {_met(node)} rows: {plan}"


@pytest.mark.parametrize(
    ("match", "index"),
    [
        (Filter(kind="task"), "records_pkey"),
        (Filter(kind="task", newest_first=True), "records_pkey"),
        (Filter(kind="task", prefix="0012"), "records_pkey"),
        (Filter(kind="task", state="failed"), "records_groups"),
        (Filter(kind="task", state="pending"), "records_groups"),
        (Filter(kind="task", state="running"), "records_running"),
        (Filter(kind="task", state="running", partition="p1", newest_first=True), "records_running"),
        (Filter(kind="task", state="succeeded", newest_first=True), "records_groups"),
        (Filter(kind="task", partition="rare"), "records_groups"),
        (Filter(kind="task", partition="p1", newest_first=True), "records_groups"),
        (Filter(kind="task", partition="rare", state="failed"), "records_groups"),
        (Filter(kind="task", expires_before=MILLION // 2), "records_expiry"),
    ],
)
async def test_scans_of_a_million_go_by_index(million: str, open_driver: OpenDriver, match: Filter, index: str) -> None:
    driver = await open_driver(million)
    counts = await driver.count("task")
    for cursor in (None, "500000 00500000" if match.expires_before else "00500000"):
        for _ in range(7):  # beyond the tries after which the server keeps a plan
            statement = postgres_read.scan(driver._schema, match, cursor, 50, counts)
            assert statement is not None
            _assert_by_index(await _plan(driver, statement), index, rows=1000)


async def test_other_reads_of_a_million_go_by_index(million: str, open_driver: OpenDriver) -> None:
    driver = await open_driver(million)
    schema, latest = driver._schema, EventFilter(limit=100)
    keys = [("task", f"{n:08}") for n in range(1, MILLION, 10_000)]
    place = postgres_events.Place.parse((await driver.log_end())[1])
    for statement, index in (
        (postgres_read.get(schema, keys), "records_pkey"),
        (postgres_read.next_due(schema, "task", None), "records_later"),
        (postgres_events.Query(schema, latest).statement(), "events_ts"),
        (postgres_events.Query(schema, EventFilter(since=MILLION // 5 - 100)).statement(), "events_ts"),
        (postgres_events.trim(schema, 100, 50), "events_oldest"),
        (postgres_events.log_end(schema, 100), "events_log"),
        (postgres_events.read_log(schema, place, 100), "events_log"),
        (postgres_events.read_log(schema, replace(place, under_way={1: 0, 2: 3}), 100), "events_log"),
    ):
        assert statement is not None
        _assert_by_index(await _plan(driver, statement), index, rows=1000)
    nodes = list(_nodes(await _plan(driver, postgres_read.count(schema, "task"))))
    assert not any("records" in str(node.get("Relation Name")) for node in nodes), "counting walks the records"


async def _statement_plans(user: asyncpg.Connection, call: str, *values: Any) -> list[dict[str, Any]]:
    """The plans of what a function executes, and of the call itself, from the server's own notes."""
    notes: list[str] = []

    def note(_: Any, message: Any) -> None:
        notes.append(message.message)

    user.add_log_listener(note)
    await user.execute("LOAD 'auto_explain'")
    for setting in ("min_duration = 0", "nested_statements = on", "analyze = on", "buffers = on", "format = json"):
        await user.execute(f"SET auto_explain.log_{setting}")
    await user.execute("SET client_min_messages = log")
    await user.fetch(call, *values)
    await user.execute("RESET client_min_messages")
    user.remove_log_listener(note)
    return [json.loads(note[note.index("{") :])["Plan"] for note in notes if "{" in note]


async def _claim_plans(
    user: asyncpg.Connection, url: str, partitions: list[str] | None, *, in_hours: int = 0
) -> list[dict[str, Any]]:
    """The plans of a claim of fifty, which is undone: the next one finds the same records."""
    call = f'SELECT * FROM "{namespace_of(url)}".claim($1, NULL, false, $2, $3, $4, $5, $6, $7)'
    now = time.time_ns() // 1000 + in_hours * 3600 * SECOND
    undone = user.transaction()
    await undone.start()
    try:
        return await _statement_plans(user, call, now, "task", partitions, [], "w", 50, SECOND)
    finally:
        await undone.rollback()


of_some_partitions = pytest.mark.parametrize("partitions", [None, ["p1"], ["rare", "p2", "nobody", "p0"]])


@of_some_partitions
async def test_claims_from_a_million_go_by_index(
    million: str, user: asyncpg.Connection, partitions: list[str] | None
) -> None:
    plans = await _claim_plans(user, million, partitions, in_hours=2)
    nodes = [node for plan in plans for node in _nodes(plan)]
    assert len(nodes) > 5, "the plans were not seen"
    assert {node["Index Name"] for node in nodes if "Index Name" in node} >= {
        "records_ready",
        "records_later",
        "records_running",
    }
    for node in nodes:
        assert node["Node Type"] != "Seq Scan" or node.get("Relation Name") is None
        # Ten thousand at once move from the later to the ready ones; of these no more are read than need be.
        assert node["Actual Rows"] * node["Actual Loops"] <= 20_000
        if node.get("Index Name") == "records_ready":
            assert node["Actual Rows"] * node["Actual Loops"] <= 250


@of_some_partitions
async def test_claim_from_a_million_reads_no_more_than_one_from_a_thousand(
    url: str, million: str, user: asyncpg.Connection, partitions: list[str] | None
) -> None:
    await _load(url, 1000)
    for store in (url, million):
        plans = await _claim_plans(user, store, partitions)
        nodes = [node for plan in plans for node in _nodes(plan)]
        assert len(nodes) > 5, "the plans were not seen"
        met = sum(map(_met, nodes))
        assert met <= 1500, f"a claim from {store} meets {met} rows"
        # The call's own plan comes last, and its buffers are those of all that it executes.
        read = plans[-1]["Shared Hit Blocks"] + plans[-1]["Shared Read Blocks"]
        assert 50 <= read <= 3000, f"a claim from {store} reads {read} buffers"
