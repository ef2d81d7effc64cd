"""PostgreSQL: one schema of a database for tasks, results, events and schedules, used by any number of machines.

``postgresql://user@host/database?namespace=omniq``; the schema is made when it is missing. Records lie in one table
with partial indexes, events in another, counters beside them (`omniq.backends.postgres_schema`); claims and batches are
functions in the server (`omniq.backends.postgres_functions`). The server's clock counts.

Round trips: `write` costs one, however many tasks it enqueues or settles together (their results and events included),
and one more for a hint, which writes that follow each other closely share; batches of thousands, or with operations
that build on each other, take a few more within one transaction. `claim` costs one for as many tasks as it takes. Calls
of `write` that arrive while another is under way go out together in the next (group commit); claims and reads go out at
once on other connections.

``durability="normal"`` leaves `synchronous_commit` as the server has it, by default on: then nothing that was returned
is lost, neither with the server's process nor with the power. ``"full"`` turns it on for what OmniQ writes, where the
server, the database or the user has it off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from itertools import chain
from typing import Any, ClassVar, TypeVar, Unpack

import asyncpg

from ..clock import system_clock
from ..errors import ConfigError, NotOpenError, OptionError, StoreError, StoreUnavailableError
from ..masking import mask_url
from ..models.event import TaskEvent
from ..models.record import Columns, EventFilter, Filter, Insert, Op, Page, Record, Replace
from ..storage.driver import About, Capabilities, DriverSettings, Key, Position
from ..storage.events import BaseEventStorage
from ..storage.queue import BaseTaskQueue
from ..storage.remote import RemoteDriver
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from ..storage.watch import Watcher, Watchers
from . import postgres_events as log
from . import postgres_read as reading
from .postgres_clock import ServerClock
from .postgres_errors import CONFLICTS, FOREIGN, translate
from .postgres_hints import Hints
from .postgres_read import Statement
from .postgres_schema import prepare, quoted
from .postgres_url import OPTIONS, parse
from .postgres_write import ARRAYS, Batch

logger = logging.getLogger("omniq")

_OPS_PER_TRANSACTION = 20_000
_TRIES = 10
"""So often a transaction is tried that gets into a deadlock or conflict with others."""
_WRITES_PER_FOLD = 200
_EVENTS_PER_TRIM = 20_000
_CLOSE_SECONDS = 10.0
_PLANS = {"jit": "off", "enable_seqscan": "off", "enable_bitmapscan": "off"}
"""A plan made while a table is small must be one by index all the same: it is kept while the table grows."""

_WRITES = (Insert, Replace)

_T = TypeVar("_T")

_Request = tuple[Sequence[Op], "asyncio.Future[list[bool]]"]


class PostgresDriver(RemoteDriver):
    """A schema of a PostgreSQL database as a store.

    Args:
        url: ``postgresql://user:password@host:port/database``, with libpq's parameters; see also
            `omniq.backends.postgres_url.Settings`.
        clock: The server's, unless a test passes its own.
        durability: See the module.
        options: See `omniq.backends.postgres_url.Settings`.
    """

    scheme: ClassVar[str] = "postgresql"
    about: ClassVar[About] = About(
        title="PostgreSQL",
        url="postgresql://user:password@localhost:5432/mydb",
        extra="postgres",
        start="a server, version 14 or later; OmniQ makes its schema, `omniq`, by itself",
        choose="many machines, and tasks that are enqueued in the same transaction as your own rows",
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        atomic_batches=True, pushes=True, shared=True, durable=True, own_clock=True, joins_transactions=True
    )
    option_names: ClassVar[frozenset[str] | None] = OPTIONS
    foreign_errors: ClassVar[tuple[type[BaseException], ...]] = FOREIGN

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        super().__init__(url, **settings)
        self._store = mask_url(url)
        self._dsn, self.settings = parse(url, self.options)
        if self.clock is system_clock:
            self.clock = ServerClock()
        self._schema = quoted(self.settings.namespace)
        parameters = ", ".join(f"${n}" for n in range(1, ARRAYS + 3))
        self._write_sql = f"SELECT {self._schema}.write({parameters})"
        self._claim_sql = f"SELECT * FROM {self._schema}.claim($1, $2, $3, $4, $5, $6, $7, $8)"
        self._pool: asyncpg.Pool | None = None
        self._hints: Hints | None = None
        self._closing = False
        self._requests: list[_Request] = []
        self._writing: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[Any]] = set()
        self._writes = 0
        self._watchers = Watchers(self._start_listening)

    def translate(self, error: BaseException) -> StoreError:
        return translate(error, self._store)

    # --- life cycle ---

    async def open(self) -> None:
        if self._pool is not None:
            return
        try:
            self._pool = await self._connect()
        except FOREIGN as error:
            raise translate(error, self._store, sent=False) from error
        except ValueError as error:  # asyncpg's word for a URL that it can't read
            raise ConfigError(f"asyncpg does not take the URL {self._store}: {error}") from error
        self._closing = False
        self._hints = Hints(
            f"omniq {self.settings.namespace}",
            self._store,
            self._watchers,
            connect=lambda: asyncpg.connect(self._dsn, **self._arguments()),
            send=self._execute,
        )

    async def _connect(self) -> asyncpg.Pool:
        # No least size: the pool would see to it with a traceback in the log for each try while the server is away.
        pool = await asyncpg.create_pool(
            self._dsn, min_size=0, max_size=self.settings.pool_size, reset=_leave_as_it_is, **self._arguments()
        )
        try:
            async with pool.acquire() as connection:
                await prepare(connection, self._store, self.settings.namespace)
                if isinstance(self.clock, ServerClock):
                    await self.clock.learn(lambda: connection.fetchval(f"SELECT {self._schema}.now()"))
        except BaseException:
            pool.terminate()
            raise
        return pool

    def _arguments(self) -> dict[str, Any]:
        settings = self.settings
        arguments: dict[str, Any] = {
            "timeout": settings.timeout,
            "command_timeout": settings.timeout,
            "statement_cache_size": 100 if settings.prepared else 0,
            "max_cached_statement_lifetime": 0,
            "server_settings": {"application_name": "omniq", **(_PLANS if settings.prepared else {})},
        }
        return arguments if settings.ssl is None else {**arguments, "ssl": settings.ssl}

    async def close(self) -> None:
        pool, hints = self._pool, self._hints
        if pool is None or hints is None or self._closing:
            return
        self._closing = True
        if self._writing is not None:
            await self._writing
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await hints.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await pool.close()
        except (*FOREIGN, asyncio.CancelledError) as error:
            pool.terminate()
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._pool = self._hints = None

    def _open_pool(self) -> asyncpg.Pool:
        if self._pool is None or self._closing:
            raise NotOpenError(type(self).__name__)
        return self._pool

    # --- talking to the server ---

    async def _on_connection(self, operation: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        pool = self._pool
        if pool is None:
            raise NotOpenError(type(self).__name__)
        try:
            connection = await pool.acquire()
        except FOREIGN as error:
            raise translate(error, self._store, sent=False) from error
        try:
            return await operation(connection)
        finally:
            await pool.release(connection)

    async def _fetch(self, statement: Statement) -> list[Any]:
        """Read, again where the connection was lost."""
        self._open_pool()

        async def fetch() -> list[Any]:
            return await self._on_connection(lambda connection: connection.fetch(statement.sql, *statement.values))

        return await self.call(fetch, repeat=True)

    async def _execute(self, sql: str, *values: Any) -> str:
        """Execute one statement; gives the server's word for what was done."""
        status: str = await self.call(lambda: self._on_connection(lambda connection: connection.execute(sql, *values)))
        return status

    def _start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Have something done whether or not its caller waits for it; closing waits for it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(_retrieve)
        return task

    @property
    def _moment(self) -> int | None:
        """What counts as now; ``None``: what the server's clock says."""
        return None if isinstance(self.clock, ServerClock) else self.clock()

    # --- claims ---

    async def claim(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        lease: int,
        *,
        excluding: Collection[str] = (),
    ) -> list[Record]:
        self._open_pool()
        excluded = list(excluding)
        served = None if partitions is None else [name for name in dict.fromkeys(partitions) if name not in excluded]
        if limit < 1 or served == []:
            return []
        values = (self._moment, self.durability == "full", kind, served, excluded, owner, limit, lease)

        async def fetch() -> list[Any]:
            return await self._on_connection(lambda connection: connection.fetch(self._claim_sql, *values))

        # A claim that is interrupted half-way would leave nobody with what it took, until the lease ends.
        rows = await asyncio.shield(self._start(self.call(lambda: self._transact(fetch))))
        return [Record(*row) for row in rows]

    # --- writes ---

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        self._open_pool()
        if not ops:
            return []
        future: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._requests.append((ops, future))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await future

    async def _write_all(self) -> None:
        """Group commit: whatever arrived in one turn of the loop, or during one transaction, makes up the next."""
        try:
            while self._requests:
                await self._write(self._next_batch())
        finally:
            self._writing = None

    def _next_batch(self) -> list[_Request]:
        size = end = 0
        while end < len(self._requests) and size < _OPS_PER_TRANSACTION:
            size += len(self._requests[end][0])
            end += 1
        batch, self._requests = self._requests[:end], self._requests[end:]
        return batch

    async def _write(self, requests: list[_Request]) -> None:
        """One transaction for all; each caller gets his outcomes, or the error."""
        batches = [ops for ops, _ in requests]
        try:
            outcomes = await self.call(lambda: self._transact(lambda: self._write_once(batches)))
        except Exception as error:  # noqa: BLE001 -- each caller gets it as his own exception
            if len(requests) > 1 and not isinstance(error, StoreUnavailableError):
                # One caller's bad value must not fail the others.
                for request in requests:
                    await self._write([request])
                return
            for _, future in requests:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for ops, future in requests:
            if not future.done():  # else its caller was cancelled
                future.set_result(outcomes[start : start + len(ops)])
            start += len(ops)
        self._tell(batches)

    async def _transact(self, transaction: Callable[[], Awaitable[_T]]) -> _T:
        """Do what is one transaction, again where it came into a deadlock or conflict with another."""
        for attempt in range(1, _TRIES):
            try:
                return await transaction()
            except CONFLICTS as error:
                logger.debug("a transaction is done again: %s", error)
                await asyncio.sleep(random.random() * 0.01 * attempt)
        return await transaction()

    async def _write_once(self, batches: Sequence[Sequence[Op]]) -> list[bool]:
        batch = Batch(batches)
        await self._on_connection(lambda connection: self._carry_out(connection, batch))
        return batch.outcomes

    async def _carry_out(self, connection: asyncpg.Connection, batch: Batch) -> None:
        values = (self._moment, self.durability == "full")
        calls = batch.calls()
        try:
            first = next(calls)
            async with contextlib.nullcontext() if first.is_last else connection.transaction():
                for call in chain((first,), calls):
                    call.failed = await connection.fetchval(self._write_sql, *values, *call.arrays())
        except asyncpg.DataError as error:
            raise OptionError(f"the store {self._store} can't hold a value: {error}") from error

    async def write_within(self, connection: Any, ops: Sequence[Op]) -> list[bool]:
        self._open_pool()
        if not (isinstance(connection, asyncpg.Connection) and connection.is_in_transaction()):
            raise OptionError(
                "connection=... is an asyncpg connection inside a transaction: `async with connection.transaction():`"
            )
        batch = Batch([ops])
        try:
            await self._carry_out(connection, batch)
            await self._tell_within(connection, ops)
        except FOREIGN as error:
            raise self.translate(error) from error
        return batch.outcomes

    # --- hints ---

    def watch(self, *, claimable: bool = False, others: bool = False) -> Watcher:
        return self._watchers.add(claimable=claimable, others=others)

    def _start_listening(self) -> None:
        if self._hints is not None and self.settings.listen:
            self._hints.listen()

    def _tell(self, batches: Sequence[Sequence[Op]]) -> None:
        """Wake this driver's watchers and the others'."""
        if self._hints is not None:
            self._hints.ring(claimable=_claimable(chain.from_iterable(batches)))
        self._writes += 1
        if self._writes % _WRITES_PER_FOLD == 0 and not self._closing:
            self._start(self._fold())

    async def _tell_within(self, connection: asyncpg.Connection, ops: Sequence[Op]) -> None:
        """Have the hint go out when the caller's transaction is committed, to this driver's own watchers as well."""
        hints = self._hints
        if hints is not None:
            payload = hints.payload(claimable=_claimable(ops), own=False)
            await connection.execute("SELECT pg_notify($1, $2)", hints.channel, payload)

    async def _fold(self) -> None:
        """Add what the counters have gathered to their sums."""
        try:
            await self._execute(f"SELECT {self._schema}.fold()")
        except StoreError as error:
            logger.debug("the counters are folded another time: %s", error)

    # --- reads ---

    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        found: list[Record | None] = [None] * len(keys)
        for n, *record in await self._fetch(reading.get(self._schema, keys)):
            found[n - 1] = Record(*record)
        return found

    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        counts = await self.count(match.kind) if reading.needs_counts(match) else {}
        statement = reading.scan(self._schema, match, cursor, limit, counts)
        rows = [] if statement is None else await self._fetch(statement)
        return reading.page(match, [Record(*row) for row in rows], limit)

    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        rows = await self._fetch(reading.count(self._schema, kind))
        return {(partition, state): n for partition, state, n in rows}

    async def next_due(self, kind: str) -> int | None:
        rows = await self._fetch(reading.next_due(self._schema, kind, self._moment))
        return rows[0][0] if rows else None

    # --- events ---

    async def query(self, match: EventFilter) -> Columns:
        return log.columns(match, await self._fetch(log.query(self._schema, match)))

    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        return log.end_of(await self._fetch(log.log_end(self._schema, latest)), latest)

    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        place = log.Place.parse(position)
        return log.after(place, await self._fetch(log.read_log(self._schema, place, limit)), limit)

    async def trim_log(self, before: int) -> int:
        self._open_pool()
        trimmed = 0
        while True:
            # In steps: one long deletion would outlast the time that a statement may take.
            sql, values = log.trim(self._schema, before, _EVENTS_PER_TRIM)
            step = int((await self._execute(sql, *values)).rpartition(" ")[2])
            trimmed += step
            if step < _EVENTS_PER_TRIM:
                return trimmed


def _claimable(ops: Iterable[Op]) -> bool:
    return any(isinstance(op, _WRITES) and op.record.due_at is not None for op in ops)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the error of a task whose caller may have gone: asyncio would complain of one that nobody has seen."""
    if not task.cancelled():
        task.exception()


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """What a connection needs between two calls: nothing, which saves a round trip for each."""


class AsyncPostgresQueue(BaseTaskQueue):
    """The task queue in a PostgreSQL database; the store is a ``postgresql://`` URL."""

    driver_class = PostgresDriver


class AsyncPostgresResultStorage(BaseResultStorage):
    """The results in a PostgreSQL database; the store is a ``postgresql://`` URL."""

    driver_class = PostgresDriver


class AsyncPostgresEventStorage(BaseEventStorage):
    """The events in a PostgreSQL database; the store is a ``postgresql://`` URL."""

    driver_class = PostgresDriver


class AsyncPostgresScheduleStorage(BaseScheduleStorage):
    """The schedules in a PostgreSQL database; the store is a ``postgresql://`` URL."""

    driver_class = PostgresDriver
