"""PostgreSQL's bad days: servers that die, connections that lie, and what people do to a database by hand."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from omniq import AsyncOmniQ
from omniq.backends import postgres_hints
from omniq.backends.postgres import PostgresDriver
from omniq.backends.postgres_errors import translate
from omniq.backends.postgres_schema import SCHEMA_VERSION
from omniq.clock import SECOND
from omniq.errors import (
    ConfigError,
    StoreAlteredError,
    StoreDeniedError,
    StoreError,
    StoreReadOnlyError,
    StoreTooNewError,
    StoreUnavailableError,
)
from omniq.models.record import EventFilter, Insert, Record, Replace
from omniq.storage import breaker

from ..servers.postgres import GUARDED, PASSWORD, PostgresServer, bare, namespace_of, run_on, shared_server
from ..servers.process import free_port
from ..servers.proxy import Proxy

SUPPORT = Path(__file__).parent / "support"
SECRET = "a secret of enough bytes"
_TASKS = 300


@pytest.fixture(scope="module")
def mortal_server() -> Iterator[PostgresServer]:
    """A server to be killed."""
    with (
        tempfile.TemporaryDirectory(prefix="omniq-postgres-") as directory,
        PostgresServer(Path(directory)) as server,
    ):
        yield server


@pytest.fixture
def server() -> PostgresServer:
    """The server that all tests share."""
    return shared_server()


@pytest.fixture
async def url(server: PostgresServer) -> AsyncIterator[str]:
    """An empty store on the shared server."""
    url = server.url()
    yield url
    server.run(f'DROP SCHEMA IF EXISTS "{namespace_of(url)}" CASCADE')


@pytest.fixture
async def open_driver() -> AsyncIterator[Callable[..., Any]]:
    """Opens drivers, and closes them after the test."""
    async with AsyncExitStack() as closing:

        async def opened(url: str, **options: Any) -> PostgresDriver:
            return await closing.enter_async_context(PostgresDriver(url, options=options))

        yield opened


class Workers:
    """``omniq worker`` processes that know the chores."""

    def __init__(self, children: Any, until: Any) -> None:
        self._children = children
        self._until = until
        self._started: list[subprocess.Popen[str]] = []

    async def start(self, url: str, *arguments: str, lease: float = 1.0, **environment: str) -> None:
        """Start one, and wait until it works."""
        worker = self._children.worker(
            url, "--import", "chores", "--lease", str(lease), *arguments, cwd=SUPPORT, OMNIQ_SECRET=SECRET,
            OMNIQ_POLL_INTERVAL="0.2", OMNIQ_RETRY_DELAY="0", **environment,
        )  # fmt: skip
        self._started.append(worker)
        await self._until(lambda: "at a time" in self._children.output_of(worker))

    def assert_none_gave_up(self) -> None:
        """Whatever has happened, all of them are still there."""
        for worker in self._started:
            assert worker.poll() is None, f"a worker gave up:\n{self._children.output_of(worker)}"


@pytest.fixture
def workers(children: Any, until: Any) -> Workers:
    """Starts workers, which end with the test."""
    return Workers(children, until)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """The file in which tasks note that they began."""
    path = tmp_path / "notes"
    path.touch()
    return path


def _begun(notes: Path) -> int:
    return len(notes.read_text().splitlines())


async def _enqueue_all(app: AsyncOmniQ, notes: Path) -> list[Any]:
    """All at once, so that those who wait for a share of them find the rest still to be done."""
    return list(await asyncio.gather(*(app.enqueue("step", args=(str(notes), n, 0.02)) for n in range(_TASKS))))


def _record(key: str, driver: PostgresDriver, **changes: Any) -> Record:
    now = driver.clock()
    return replace(Record("task", key, "default", "pending", 0, now, None, 0, 1, now, now, None, b"body"), **changes)


def _assert_each_ended_once(url: str, task_ids: list[str]) -> None:
    """Every task is there and succeeded, by exactly one accepted completion, with the result of its last attempt."""
    schema = f'"{namespace_of(url)}"'
    rows = run_on(url, f"SELECT key, state, claims, version FROM {schema}.records WHERE kind = 'task'")
    tasks = {key: rest for key, *rest in rows}
    assert set(tasks) == set(task_ids), "tasks were lost or made up"
    assert {state for state, _, _ in tasks.values()} == {"succeeded"}
    events = run_on(
        url,
        f"SELECT coalesce(kind, event_type[1]), coalesce(task, task_id[1]) FROM {schema}.events, "
        "unnest(event_type, task_id) AS each_one(kind, task)",
    )
    assert Counter(task for kind, task in events if kind == "task.succeeded") == Counter(task_ids)
    released = Counter(task for kind, task in events if kind == "task.released")
    for key, (_, claims, version) in tasks.items():
        assert version == 1 + claims + released[key] + 1, "a write was accepted that should not have been"
    results = run_on(url, f"SELECT key FROM {schema}.records WHERE kind = 'result'")
    assert {key for (key,) in results} == {f"{key}.{claims}" for key, (_, claims, _) in tasks.items()}
    counted = run_on(
        url,
        f"SELECT kind, state, sum(n)::int FROM (TABLE {schema}.counts UNION ALL TABLE {schema}.changes) AS c "
        "GROUP BY kind, state HAVING sum(n) <> 0",
    )
    true_counts = run_on(url, f"SELECT kind, state, count(*)::int FROM {schema}.records GROUP BY kind, state")
    assert {tuple(row) for row in counted} == {tuple(row) for row in true_counts}, "the counters have lost step"


# --- the server dies ---


@pytest.mark.parametrize("way", ["killed", "stopped at once"])
async def test_server_dies_in_the_middle_of_a_run(
    mortal_server: PostgresServer, workers: Workers, notes: Path, until: Any, way: str
) -> None:
    url = mortal_server.url()
    async with AsyncOmniQ(url, secret=SECRET) as app:
        for _ in range(2):
            await workers.start(url, "--concurrency", "5")
        handles = await _enqueue_all(app, notes)
        for share in (0.2, 0.5, 0.8):
            await until(lambda share=share: _begun(notes) >= share * _TASKS)
            if way == "killed":
                mortal_server.restart()
            else:
                mortal_server.stop_at_once()
                mortal_server.start()

        async def all_succeeded() -> bool:
            try:
                return (await app.stats()).totals.get("succeeded", 0) == _TASKS
            except StoreUnavailableError:
                return False

        await until(all_succeeded)
        workers.assert_none_gave_up()
        assert await app.group(handles) == list(range(_TASKS))
    _assert_each_ended_once(url, [handle.id for handle in handles])


async def test_app_whose_server_was_away_goes_on(
    mortal_server: PostgresServer, workers: Workers, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "LONGEST_PAUSE", 0.5)  # of five seconds, some of which pass before an error and after
    url = mortal_server.url()
    async with AsyncOmniQ(url, secret=SECRET) as app:
        mortal_server.kill()
        with pytest.raises(StoreUnavailableError, match="can't be reached"):
            await app.enqueue("step", args=(str(notes), 0, 0))
        mortal_server.start()
        handle = await _patiently(lambda: app.enqueue("step", args=(str(notes), 0, 0)))
        await workers.start(url)
        assert await handle.result(timeout=60) == 0


async def _patiently(call: Callable[[], Any]) -> Any:
    while True:
        try:
            return await call()
        except StoreUnavailableError:
            await asyncio.sleep(0.05)


async def test_listener_hears_again_after_the_server_was_away(mortal_server: PostgresServer, open_driver: Any) -> None:
    url = mortal_server.url()
    ours, theirs = await open_driver(url), await open_driver(url)
    with ours.watch(others=True) as changes:
        assert await changes.wait(30), "nobody listens"
        mortal_server.restart()
        changes.clear()
        assert await changes.wait(30), "waiters are not told that hints may have been missed"
        changes.clear()
        assert await _patiently(lambda: theirs.write([Insert(_record("a", theirs))])) == [True]
        assert await changes.wait(30)


# --- connections ---


async def test_every_connection_is_ended_again_and_again(
    server: PostgresServer, url: str, workers: Workers, notes: Path, until: Any
) -> None:
    async with AsyncOmniQ(url, secret=SECRET) as app:
        for _ in range(2):
            await workers.start(url, "--concurrency", "5")
        handles = await _enqueue_all(app, notes)
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            await until(lambda share=share: _begun(notes) >= share * _TASKS)
            server.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'omniq' AND pid <> pg_backend_pid()"
            )
        assert await app.group(handles) == list(range(_TASKS))
        workers.assert_none_gave_up()
    _assert_each_ended_once(url, [handle.id for handle in handles])


@pytest.mark.parametrize("fault", ["cut", "stalled", "half open"])
async def test_faulty_network_loses_nothing_and_counts_nothing_twice(
    server: PostgresServer, workers: Workers, notes: Path, until: Any, fault: str
) -> None:
    async with Proxy(server.port) as proxy:
        url = server.url()
        through_proxy = server.url(namespace_of(url), port=proxy.port) + "&timeout=1"
        async with AsyncOmniQ(url, secret=SECRET) as app:
            # A claim whose answer is lost counts as one whose worker vanished: there may be several in a row.
            await workers.start(through_proxy, "--concurrency", "10", OMNIQ_MAX_CLAIMS="100")
            handles = await _enqueue_all(app, notes)
            for share in (0.2, 0.5, 0.8):
                await until(lambda share=share: _begun(notes) >= share * _TASKS)
                if fault == "stalled":
                    proxy.stalls = True
                    await asyncio.sleep(1.5)
                    proxy.stalls = False
                elif fault == "half open":
                    proxy.swallows_answers = True
                    await asyncio.sleep(0.5)
                    proxy.cut()
                    proxy.swallows_answers = False
                else:
                    proxy.cut()
            assert await app.group(handles) == list(range(_TASKS))
            workers.assert_none_gave_up()
        _assert_each_ended_once(url, [handle.id for handle in handles])


async def test_swallowed_answer_to_a_commit(server: PostgresServer, url: str, open_driver: Any) -> None:
    async with Proxy(server.port) as proxy:
        # One connection, on which the statement has been prepared: so it is its execution whose answer gets lost.
        theirs = await open_driver(server.url(namespace_of(url), port=proxy.port) + "&timeout=1&pool_size=1")
        ours = await open_driver(url)
        await theirs.write([Insert(_record("a", theirs))])
        (held,) = await theirs.claim("task", None, "worker", 1, 60 * SECOND)
        done = Replace(replace(held, state="succeeded", due_at=None), held)
        proxy.swallows_answers = True
        with pytest.raises(StoreUnavailableError) as lost:
            await theirs.write([done])
        assert lost.value.sent, "the caller is not told that it may have been carried out"
        proxy.cut()
        proxy.swallows_answers = False
        assert await _patiently(lambda: theirs.write([done])) == [False], "a completion was accepted twice"
        (record,) = await ours.get([("task", "a")])
        assert (record.state, record.version) == ("succeeded", 3)


async def test_stalled_call_ends_in_time_and_the_next_gets_through(server: PostgresServer, open_driver: Any) -> None:
    async with Proxy(server.port) as proxy:
        driver = await open_driver(server.url(port=proxy.port) + "&timeout=0.5")
        proxy.stalls = True
        async with asyncio.timeout(20):
            with pytest.raises(StoreUnavailableError, match="no answer in time"):
                await driver.write([Insert(_record("a", driver))])
        proxy.stalls = False
        assert await _patiently(lambda: driver.count("other")) == {}


async def test_listener_whose_connection_leads_nowhere_finds_out(
    server: PostgresServer, url: str, open_driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_hints, "_PING_SECONDS", 0.1)
    async with Proxy(server.port) as proxy:
        theirs = await open_driver(url)
        ours = await open_driver(server.url(namespace_of(url), port=proxy.port) + "&timeout=0.5")
        with ours.watch(others=True) as changes:
            assert await changes.wait(30), "nobody listens"
            proxy.swallows_answers = True
            await theirs.write([Insert(_record("unheard", theirs))])
            changes.clear()
            assert not await changes.wait(1), "it was heard through a network that swallows it"
            proxy.swallows_answers = False
            assert await changes.wait(30), "waiters are not told that hints may have been missed"
            changes.clear()
            await theirs.write([Insert(_record("heard", theirs))])
            assert await changes.wait(30)


async def test_too_many_connections(open_driver: Any) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="omniq-postgres-") as directory,
        PostgresServer(Path(directory), max_connections="8", superuser_reserved_connections="1") as server,
    ):
        server.run("CREATE ROLE plain LOGIN")
        server.run("GRANT CREATE ON DATABASE omniq TO plain")
        url = server.url().replace("omniq@", "plain@")
        driver = await open_driver(url)
        await driver.write([Insert(_record("a", driver))])
        occupied = []
        with pytest.raises(asyncpg.TooManyConnectionsError):
            while True:
                occupied.append(await asyncpg.connect(bare(url)))
        try:
            with pytest.raises(StoreUnavailableError, match="connection"):
                await PostgresDriver(url).open()
            # Who is in goes on with the connections that there are.
            await asyncio.gather(*(driver.get([("task", "a")]) for _ in range(50)))
            writes = (driver.write([Insert(_record(f"{n}", driver))]) for n in range(50))
            assert await asyncio.gather(*writes) == [[True]] * 50
        finally:
            for connection in occupied:
                await connection.close()


# --- the door is shut ---


async def _refusal(url: str, expected: type[StoreError]) -> StoreError:
    driver = PostgresDriver(url)
    with pytest.raises(expected) as refusal:
        await driver.open()
    await driver.close()
    message = str(refusal.value)
    assert "\n" not in message
    assert PASSWORD not in message
    assert "Traceback" not in message
    return refusal.value


async def test_nothing_listens() -> None:
    error = await _refusal(f"postgresql://omniq:{PASSWORD}@127.0.0.1:{free_port()}/omniq", StoreUnavailableError)
    assert "can't be reached" in str(error)
    assert isinstance(error.__cause__, OSError)


async def test_wrong_password(server: PostgresServer) -> None:
    error = await _refusal(f"postgresql://{GUARDED}:{PASSWORD}x@127.0.0.1:{server.port}/omniq", StoreDeniedError)
    assert "refuses this user" in str(error)
    assert "password authentication failed" in str(error)


async def test_missing_database(server: PostgresServer) -> None:
    error = await _refusal(f"postgresql://omniq@127.0.0.1:{server.port}/nowhere", StoreUnavailableError)
    assert 'database "nowhere" does not exist' in str(error)


async def test_missing_right_to_make_the_schema(server: PostgresServer) -> None:
    error = await _refusal(
        f"postgresql://{GUARDED}:{PASSWORD}@127.0.0.1:{server.port}/omniq?namespace=not_mine", StoreDeniedError
    )
    assert "permission denied" in str(error)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("namespace=a%20b", "namespace"),
        ("pool_size=0", "pool_size"),
        ("timeout=soon", "timeout"),
        ("listen=maybe", "listen"),
    ],
)
def test_option_with_a_value_that_it_can_t_have(query: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PostgresDriver(f"postgresql://localhost/omniq?{query}")


async def test_read_only_transactions(server: PostgresServer, open_driver: Any) -> None:
    server.run("DROP DATABASE IF EXISTS readonly")
    server.run("CREATE DATABASE readonly")
    url = f"postgresql://omniq@127.0.0.1:{server.port}/readonly"
    await (await open_driver(url)).write([])
    server.run("ALTER DATABASE readonly SET default_transaction_read_only = on")
    driver = await open_driver(url)
    assert await driver.count("task") == {}
    for refused in (driver.write([Insert(_record("a", driver))]), driver.claim("task", None, "w", 1, SECOND)):
        with pytest.raises(StoreReadOnlyError, match="connect to the primary"):
            await refused
    await _refusal(f"{url}?namespace=new", StoreReadOnlyError)


async def test_hot_standby(
    mortal_server: PostgresServer, open_driver: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url = mortal_server.url()
    primary = await open_driver(url)
    await primary.write([Insert(_record("a", primary))])
    with (
        tempfile.TemporaryDirectory(prefix="omniq-postgres-") as directory,
        mortal_server.standby(Path(directory)) as standby,
        caplog.at_level(logging.INFO, "omniq"),
    ):
        async with PostgresDriver(standby.url(namespace_of(url))) as driver:
            assert (await driver.get([("task", "a")]))[0] is not None
            with driver.watch() as changes:
                await until(lambda: "can't LISTEN" in caplog.text)
                changes.clear()
                assert not await changes.wait(0.05)
            with pytest.raises(StoreReadOnlyError, match="is read-only"):
                await driver.write([Insert(_record("b", driver))])


# --- what people do by hand ---


@pytest.mark.parametrize(
    "harm",
    [
        "DROP TABLE {s}.records",
        "DROP TABLE {s}.events",
        "DROP TABLE {s}.changes",
        "ALTER TABLE {s}.records RENAME COLUMN due_at TO due",
        "ALTER TABLE {s}.records ALTER COLUMN body TYPE text USING 'x'",
        "DROP FUNCTION {s}.now CASCADE",
        "ALTER TABLE {s}.records ADD CONSTRAINT mine CHECK (key <> 'a')",
    ],
)
async def test_schema_that_was_changed_by_hand_is_one_clear_line(
    server: PostgresServer, url: str, open_driver: Any, harm: str
) -> None:
    driver = await open_driver(url)
    await driver.write([Insert(_record("before", driver, due_at=None))])
    server.run(harm.format(s=f'"{namespace_of(url)}"'))
    with pytest.raises(StoreAlteredError, match="is not as OmniQ made it") as altered:
        await driver.write([Insert(_record("a", driver))])
        await driver.query(EventFilter())
        await driver.claim("task", None, "w", 1, SECOND)
    assert "\n" not in str(altered.value)
    assert isinstance(altered.value.__cause__, asyncpg.PostgresError)


async def test_schema_of_another_program_is_left_alone(server: PostgresServer, url: str) -> None:
    schema = f'"{namespace_of(url)}"'
    server.run(f"CREATE SCHEMA {schema}")
    server.run(f"CREATE TABLE {schema}.events (precious int)")
    error = await _refusal(url, StoreAlteredError)
    assert "belongs to another program" in str(error)
    tables = server.run("SELECT tablename FROM pg_tables WHERE schemaname = $1", namespace_of(url))
    assert [name for (name,) in tables] == ["events"]


async def test_schema_of_a_newer_omniq(server: PostgresServer, url: str, open_driver: Any) -> None:
    await open_driver(url)
    server.run(f'UPDATE "{namespace_of(url)}".version SET version = {SCHEMA_VERSION + 1}')
    error = await _refusal(url, StoreTooNewError)
    assert f"its schema is version {SCHEMA_VERSION + 1}" in str(error)


async def test_twenty_open_a_new_store_at_once(url: str, open_driver: Any) -> None:
    drivers = await asyncio.gather(*(open_driver(url, pool_size=1) for _ in range(20)))
    assert await drivers[0].write([Insert(_record("a", drivers[0]))]) == [True]
    assert await drivers[-1].count("task") == {("default", "pending"): 1}


# --- conflicts ---


async def test_writers_of_the_same_records_in_opposite_orders(url: str, open_driver: Any) -> None:
    first, second = await open_driver(url), await open_driver(url)
    records = [_record(f"{n:03}", first) for n in range(50)]
    await first.write([Insert(record) for record in records])

    async def rewrite(driver: PostgresDriver, *, backwards: bool) -> int:
        won = 0
        for _ in range(30):
            found = [record for record in await driver.get([("task", each.key) for each in records]) if record]
            order = found[::-1] if backwards else found
            # In two transactions' worth of calls, so that not even sorting saves them.
            ops = [Replace(replace(record, body=b"x"), record) for record in order]
            again = [
                Replace(replace(record, body=b"y"), replace(record, version=record.version + 1)) for record in order
            ]
            won += sum(await driver.write([*ops, *again]))
        return won

    forwards, backwards = await asyncio.gather(rewrite(first, backwards=False), rewrite(second, backwards=True))
    versions = [record.version for record in await first.get([("task", each.key) for each in records]) if record]
    assert sum(versions) == len(records) + forwards + backwards


async def test_deadlock_with_the_user_s_own_transaction_is_not_the_caller_s_trouble(url: str, open_driver: Any) -> None:
    driver = await open_driver(url)
    a, b = _record("a", driver), _record("b", driver)
    await driver.write([Insert(a), Insert(b)])
    table = f'"{namespace_of(url)}".records'
    user = await asyncpg.connect(bare(url))
    try:
        await user.execute("SET deadlock_timeout = '30s'")  # so that it is the driver whom the server interrupts
        async with user.transaction():
            await user.execute(f"SELECT FROM {table} WHERE key = 'b' FOR UPDATE")
            ops = [Replace(replace(record, state="done"), record) for record in (a, b)]
            writing = asyncio.create_task(driver.write(ops))
            while not await user.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                await asyncio.sleep(0.01)
            await user.execute(f"SELECT FROM {table} WHERE key = 'a' FOR UPDATE")
        assert await writing == [True, True]
    finally:
        await user.close()


# --- clocks ---


@pytest.mark.parametrize("off", [-90, 90])
async def test_worker_whose_clock_is_wrong_keeps_its_leases(
    url: str, workers: Workers, notes: Path, off: int, until: Any
) -> None:
    async with AsyncOmniQ(url, secret=SECRET) as app:
        await workers.start(url, "--import", "wrong_clock", "--concurrency", "5", lease=3, CLOCK_IS_OFF_BY=str(off))
        await workers.start(url, "--concurrency", "5", lease=3)
        # They last longer than a lease, so that each rests on heartbeats.
        handles = [await app.enqueue("step", args=(str(notes), n, 5.0)) for n in range(10)]
        delayed = await app.enqueue("step", args=(str(notes), 10, 0), delay=1)
        assert await app.group(handles) == list(range(10))
        assert await delayed == 10
        assert len({line.split()[1] for line in notes.read_text().splitlines()}) == 2, "one worker did it all"
        assert _begun(notes) == 11, "a task was run twice"
    _assert_each_ended_once(url, [handle.id for handle in (*handles, delayed)])


def test_pooler_without_the_options_for_it_is_named() -> None:
    """In PgBouncer's words, when a session's settings are sent to it."""
    error = translate(asyncpg.ProtocolViolationError("unsupported startup parameter: jit"), "postgresql://host/db")
    for words in ("postgresql://host/db", "pooler", "?prepared=false&listen=false", "jit"):
        assert words in str(error)
    assert not isinstance(error, StoreUnavailableError), "to try again would not help"
