"""PostgreSQL: one schema of a database for tasks, results, events and schedules, used by any number of machines.

``postgresql://user@host/database?namespace=omniq``; the schema is made when it is missing. Records lie in one table
with partial indexes, events in another, a row for each write, counters beside them (`omniq.backends.postgres_schema`);
claims and batches are functions in the server (`omniq.backends.postgres_functions`). The server's clock counts.

Round trips: `write` costs one, however many tasks it enqueues or settles together (their results and events included),
and one more for a hint, unless it takes that along (`omniq.backends.postgres_hints`); writes that follow each other
closely share it. Batches of thousands, or with operations that build on each other, take a few more within one
transaction. `claim` costs one for as many tasks as it takes. Calls of `write` that arrive while another is under way go
out together in the next (group commit); claims and reads go out at once on other connections.

``durability="normal"`` leaves `synchronous_commit` as the server has it, by default on: then nothing that was written
is lost, neither with the server's process nor with the power. Claims alone do not wait for the disk: one that a crash
of the server undoes is made again. ``"full"`` turns it on for all that OmniQ writes, where the server, the database or
the user has it off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from itertools import chain, islice
from typing import Any, ClassVar, TypeVar, Unpack

import asyncpg

from ..clock import SECOND, system_clock
from ..errors import NotOpenError, OptionError, StoreError
from ..masking import mask_url
from ..models.event import TaskEvent
from ..models.record import Columns, EventFilter, Filter, Insert, Op, Page, Record, Replace
from ..storage.driver import About, Capabilities, DriverSettings, Key, Position
from ..storage.endings import each_of
from ..storage.events import BaseEventStorage
from ..storage.group_commit import GroupCommit
from ..storage.queue import BaseTaskQueue
from ..storage.remote import RemoteDriver
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from ..storage.watch import Watcher, Watchers
from . import postgres_events as log
from . import postgres_read as reading
from .postgres_clock import ServerClock
from .postgres_errors import CONFLICTS, FOREIGN, translate
from .postgres_functions import GROUPS
from .postgres_hints import Hints
from .postgres_pool import Connections
from .postgres_read import Statement
from .postgres_schema import prepare, quoted
from .postgres_upkeep import Upkeep
from .postgres_url import OPTIONS, parse
from .postgres_write import Batch

logger = logging.getLogger("omniq")

_OPS_PER_TRANSACTION = 20_000
_TRIES = 10
"""So often a transaction is tried that gets into a deadlock or conflict with others."""
_ROWS_PER_TRIM = 5000
_WRITES = (Insert, Replace)

_T = TypeVar("_T")


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
        dsn, self.settings = parse(url, self.options)
        if self.clock is system_clock:
            self.clock = ServerClock()
        self._store = mask_url(url)
        self._schema = quoted(self.settings.namespace)
        parameters = ", ".join(f"${n}" for n in range(1, 5 + sum(group.width for group in GROUPS)))
        self._write_sql = f"SELECT {self._schema}.write({parameters})"
        self._claim_sql = f"SELECT * FROM {self._schema}.claim($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        self._connections = Connections(dsn, self.settings, self._store)
        self._watchers = Watchers(self._start_listening)
        self._hints = Hints(
            f"omniq {self.settings.namespace}",
            self._store,
            self._watchers,
            connect=self._connections.single,
            send=self._execute,
            ping=self._learn_the_time,
        )
        self._upkeep = Upkeep(self._schema, self._execute)
        self._is_open = False
        self._commits = GroupCommit(
            self._write, share=lambda ops: len(ops) / _OPS_PER_TRANSACTION, name="omniq-postgres"
        )
        self._under_way: set[asyncio.Task[Any]] = set()

    def translate(self, error: BaseException) -> StoreError:
        return translate(error, self._store)

    # --- life cycle ---

    async def _connect(self) -> None:
        if not self._is_open:
            await self._connections.open(self._prepare)
            self._is_open = True

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        await prepare(connection, self._store, self.settings.namespace)
        await self._learn_the_time(connection)

    async def _learn_the_time(self, connection: asyncpg.Connection) -> None:
        clock = self.clock if isinstance(self.clock, ServerClock) else ServerClock()
        await clock.learn(lambda: connection.fetchval(f"SELECT {self._schema}.now()"))

    async def _let_go(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        await each_of(
            self._commits.finish, self._settle_down, self._upkeep.stop, self._hints.close, self._connections.close
        )

    async def _settle_down(self) -> None:
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _must_be_open(self) -> None:
        if not self._is_open:
            raise NotOpenError(type(self).__name__)

    # --- talking to the server ---

    async def _fetch(self, statement: Statement, *, repeat: bool = True) -> list[Any]:
        """Read, again where the connection was lost."""
        self._must_be_open()
        sql, values = statement

        async def fetch() -> list[Any]:
            return await self._connections.use(lambda connection: connection.fetch(sql, *values))

        return await self.call(fetch, repeat=repeat)

    async def _execute(self, sql: str, *values: Any, timeout: float | None = None) -> str:
        """Execute one statement; gives the server's word for what was done."""

        async def execute() -> str:
            return await self._connections.use(lambda connection: connection.execute(sql, *values, timeout=timeout))

        return await self.call(execute)

    def _start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Have something done whether or not its caller waits for it; closing waits for it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(_retrieve)
        return task

    def _keep_time(self) -> None:
        """Set the clock right beside the work, where no connection listens, and at once where somebody has set it."""
        if isinstance(self.clock, ServerClock) and self.clock.is_doubtful:
            self._start(self.call(lambda: self._connections.use(self._learn_the_time), repeat=True))

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
        self._must_be_open()
        excluded = list(excluding)
        served = None if partitions is None else [name for name in dict.fromkeys(partitions) if name not in excluded]
        if limit < 1 or served == []:
            return []
        self._keep_time()
        values = (self.durability == "full", kind, served, excluded, owner, limit, lease)

        async def fetch() -> list[Any]:
            when = (self._moment, self.clock() + round(self.settings.timeout * SECOND))
            return await self._connections.use(lambda connection: connection.fetch(self._claim_sql, *when, *values))

        # A claim that is interrupted half-way would leave nobody with what it took, until the lease ends.
        rows = await asyncio.shield(self._start(self.call(lambda: self._transact(fetch))))
        self._upkeep.claimed(len(rows))
        return [Record(*row) for row in rows]

    # --- writes ---

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        self._must_be_open()
        if not ops:
            return []
        return await self._commits.submit(ops)

    async def _write(self, batches: list[Sequence[Op]]) -> list[list[bool]]:
        """One transaction for all."""
        claimable = _claimable(chain.from_iterable(batches))
        hint = self._hints.along(sum(map(len, batches)), claimable=claimable)
        outcomes = iter(await self.call(lambda: self._transact(lambda: self._write_once(batches, hint))))
        self._hints.ring(claimable=claimable, told=hint is not None)
        self._upkeep.wrote()
        return [list(islice(outcomes, len(ops))) for ops in batches]

    async def _transact(self, transaction: Callable[[], Awaitable[_T]]) -> _T:
        """Do what is one transaction, again where it came into a deadlock or conflict with another."""
        for attempt in range(1, _TRIES):
            try:
                return await transaction()
            except CONFLICTS as error:
                logger.debug("a transaction is done again: %s", error)
                await asyncio.sleep(random.random() * 0.01 * attempt)
        return await transaction()

    async def _write_once(self, batches: Sequence[Sequence[Op]], hint: str | None) -> list[bool]:
        batch = Batch(batches)
        await self._connections.use(lambda connection: self._carry_out(connection, batch, hint))
        return batch.outcomes

    async def _carry_out(self, connection: asyncpg.Connection, batch: Batch, hint: str | None) -> None:
        values = (self._moment, self.durability == "full", self._hints.channel, hint)
        calls = batch.calls()
        try:
            first = next(calls)
            async with contextlib.nullcontext() if first.is_last else connection.transaction():
                for call in chain((first,), calls):
                    call.failed = await connection.fetchval(self._write_sql, *values, *call.arrays())
        except asyncpg.DataError as error:
            raise OptionError(f"the store {self._store} can't hold a value: {error}") from error

    async def write_within(self, connection: Any, ops: Sequence[Op]) -> list[bool]:
        self._must_be_open()
        if not (isinstance(connection, asyncpg.Connection) and connection.is_in_transaction()):
            raise OptionError(
                "connection=... is an asyncpg connection inside a transaction: `async with connection.transaction():`"
            )
        if connection._loop is not asyncio.get_running_loop():  # noqa: SLF001 -- asyncpg has no public way to ask
            raise OptionError("connection=... belongs to another event loop: use it, and an AsyncOmniQ, on its own")
        batch = Batch([ops])
        # The hint goes out when the caller's transaction is committed, to this driver's own watchers as well.
        hint = self._hints.payload(claimable=_claimable(ops), own=False)
        try:
            await self._carry_out(connection, batch, hint)
        except FOREIGN as error:
            raise self.translate(error) from error
        return batch.outcomes

    # --- hints ---

    def watch(self, *, claimable: bool = False, others: bool = False) -> Watcher:
        return self._watchers.add(claimable=claimable, others=others)

    @property
    def hears(self) -> bool:
        return self.settings.listen

    def _start_listening(self) -> None:
        if self._is_open and self.settings.listen:
            self._hints.listen()

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
        due_at: int | None = rows[0][0]
        return due_at

    # --- events ---

    async def query(self, match: EventFilter) -> Columns:
        self._must_be_open()
        query = log.Query(self._schema, match)
        while (statement := query.statement()) is not None:
            query.add(await self._fetch(statement))
        return query.columns()

    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        return log.end_of(await self._fetch(log.log_end(self._schema, latest)), latest)

    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        place = log.Place.parse(position)
        return log.after(place, await self._fetch(log.read_log(self._schema, place, limit)), limit)

    async def trim_log(self, before: int) -> int:
        trimmed = 0
        while True:
            # In steps: one long deletion would outlast the time that a statement may take.
            statement = log.trim(self._schema, before, _ROWS_PER_TRIM)
            ((rows, events),) = await self._fetch(statement, repeat=False)
            trimmed += int(events)
            if rows < _ROWS_PER_TRIM:
                return trimmed


def _claimable(ops: Iterable[Op]) -> bool:
    return any(isinstance(op, _WRITES) and op.record.due_at is not None for op in ops)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the error of a task whose caller may have gone: asyncio would complain of one that nobody has seen."""
    if not task.cancelled():
        task.exception()


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
