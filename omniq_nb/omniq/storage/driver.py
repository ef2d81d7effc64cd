"""The driver contract: a small record store plus an event log.

A driver stores; it knows nothing of retries, time to live, dependencies or schedules. All of that lives once, in
`omniq.core` and `omniq.storage`. The rules below hold for every driver, and `omniq.testing` proves them.

Rules:

1.  Every operation is atomic on its record, and says whether it applied. An operation that does not apply changes
    nothing and is no error.
2.  A record's version is 1 when inserted and grows by one with every claim and every replacement. `Replace`, `Extend`
    and `Delete` apply only while the record that they name still has its version and its ``created_at``: a record that
    was deleted and inserted anew begins another life. So the version that a claim returned is a fencing token: once
    anybody else has written the record, the holder of the old version can't. Kind, key and ``created_at`` never change;
    a claim sets ``updated_at``, an `Extend` leaves it, and otherwise it is the caller's.
3.  No record is given to two claimers for one version. A claim takes only records that are due; it makes each
    ``running``, sets its owner, adds one to ``claims`` and to the version, and moves ``due_at`` to the end of the
    lease. If that end passes without an `Extend`, the record is claimable again, by itself.
4.  A claim's order is (rank, position of the partition in the caller's list, age); age is ``(created_at, key)``.
5.  What a call returned is durable as far as the store promises (`Capabilities.durable`), and visible to every later
    call of every process.
6.  Hints (`watch`) may be lost or come without cause. Nothing may rest on them but speed.
7.  A driver may be used from the event loop that opened it, and from no other; `clone` gives one for another loop.
    All of its calls may be made concurrently, and a cancelled call leaves the store consistent.
8.  Errors of the store arrive as `omniq.errors.StoreError` with the original chained and passwords masked.
9.  A claim that finds nothing may be left standing (`claim_or_stand`): the store may then take records for its owner,
    as that claim would and once, in the very write that makes them claimable. They are the owner's like any that he has
    claimed (rules 2 and 3), but for a short lease, since he may have stopped looking: he finds them by `handed_over`,
    after a hint. Any later claim of his ends the one that stood.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict, Unpack

import msgspec

from ..clock import Clock, system_clock
from ..errors import GarbledURLError, OptionError
from ..masking import is_garbled
from ..models.event import TaskEvent
from ..models.record import Columns, EventFilter, Filter, Op, Page, Record
from .watch import Watcher

Key = tuple[str, str]
"""Kind and key of a record."""

Position = str
"""A place in an event log: only the store that gave it can read it."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver declares of its store; nothing is faked.

    Attributes:
        atomic_batches: One `write` is one transaction: after a crash all of its operations are there or none.
        pushes: `watch` notices other processes' changes without polling.
        shared: Several processes can use the store at once.
        durable: What was written outlives the process.
        own_clock: The store says what time it is, so that a worker's wrong clock does no harm.
        hands_over: Claims can be left standing (rule 9): a worker that waits is given a task by the write that adds it.
        joins_transactions: `Driver.write_within` joins a transaction of the caller's.
    """

    atomic_batches: bool
    pushes: bool
    shared: bool
    durable: bool
    own_clock: bool = False
    hands_over: bool = False
    joins_transactions: bool = False


class Standing(msgspec.Struct, frozen=True):
    """How a claim is left standing (rule 9).

    Attributes:
        lasts: Microseconds for which it stands.
        lease: Microseconds from the moment at which a record is handed over until it is claimable again.
    """

    lasts: int
    lease: int


NOT_STANDING = Standing(0, 0)


class DriverSettings(TypedDict, total=False):
    """What every driver takes beside its URL; see `Driver`."""

    clock: Clock
    durability: str
    options: Mapping[str, Any]


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What people read of a backend: in the README's table, which is made from these, and in messages.

    Attributes:
        title: Its name.
        url: An example.
        extra: What to install, as in ``pip install 'omniq-nb[extra]'``; empty: it comes with OmniQ.
        start: How to start the store.
        choose: When to choose it.
    """

    title: str
    url: str
    extra: str = ""
    start: str
    choose: str


class Driver(abc.ABC):
    """One store. See the module's rules; the methods add only what is particular to them.

    Args:
        url: The store's URL.
        clock: The machine's, unless a test passes its own; a store with a clock of its own uses that one unless one is
            passed.
        durability: ``"normal"``: a crash of the process loses nothing that was returned; ``"full"``: nor does a loss of
            power, at the price of one flush to the disk per batch. Stores without the choice ignore it.
        options: For the store's client library; what a driver takes is in its `option_names`.

    Raises:
        ConfigError: The URL, or an option, is none that the driver takes.
    """

    scheme: ClassVar[str]
    about: ClassVar[About]
    capabilities: ClassVar[Capabilities]
    option_names: ClassVar[frozenset[str] | None] = frozenset()
    """The options that the driver takes; ``None``: whatever its client library takes."""

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        if is_garbled(url):
            raise GarbledURLError(url)
        self.url = url
        self.clock = settings.get("clock", system_clock)
        self.durability = settings.get("durability", "normal")
        self.options = dict(settings.get("options", {}))
        allowed = self.known_options() if self.options else None
        if allowed is not None:
            for name in sorted(self.options.keys() - allowed):
                raise OptionError.unknown_to_store(url, name, allowed)

    def known_options(self) -> frozenset[str] | None:
        """As `option_names`, for a driver that has to look at the client library first."""
        return self.option_names

    # --- life cycle ---

    @abc.abstractmethod
    async def open(self) -> None:
        """Connect, and create what is missing.

        Raises:
            StoreError: The store can't be used; the class says why.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Finish what was accepted, then let go of the store. Closing twice does nothing."""

    @property
    def hears(self) -> bool:
        """Whether it is told of other processes' changes, as far as its user has left it so."""
        return self.capabilities.pushes

    def clone(self) -> Self:
        """An unopened driver of the same store, for another event loop."""
        return type(self)(self.url, clock=self.clock, durability=self.durability, options=self.options)

    def secret_directory(self) -> Path | None:
        """Where the app may keep the secret that signs this store's pickles; ``None``: the user has to give one."""
        return None

    def place(self) -> Path | None:
        """A file that is there once the store was made, if that is on this machine; ``None``: it is elsewhere."""
        return None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- records ---

    @abc.abstractmethod
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
        """Take up to ``limit`` due records for ``lease`` microseconds, in the order of rule 4.

        Args:
            kind: Records of this kind.
            partitions: Only of these, earlier ones first among equal ranks; ``None``: of all, at equal position.
            owner: Becomes the records' owner.
            limit: At most so many.
            lease: Microseconds from now until the records are claimable again.
            excluding: None of these partitions.

        Returns:
            The records as they are now: running, with the new version.
        """

    async def claim_or_stand(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        lease: int,
        standing: Standing,  # noqa: ARG002 -- for those that hand over
        *,
        excluding: Collection[str] = (),
    ) -> list[Record]:
        """`claim`, and leave it standing where it finds nothing and the store can hand over (rule 9).

        Args:
            kind: As for `claim`, like all that follow.
            partitions: See there.
            owner: One claim of each owner stands.
            limit: See `claim`; for what is handed over too.
            lease: Of what is found at once.
            standing: For how long it stands, and the lease of what is handed over.
            excluding: See `claim`.
        """
        return await self.claim(kind, partitions, owner, limit, lease, excluding=excluding)

    def handed_over(self, owner: str, limit: int) -> list[Record]:  # noqa: ARG002 -- for those that hand over
        """Up to ``limit`` records that the store has taken for an owner, each given once."""
        return []

    async def end_standing(self, kind: str, owner: str | None = None) -> None:  # noqa: B027 -- for those that hand over
        """End the claim of a kind that an owner has left standing, or, unless one is named, everybody's.

        What was handed over before that may still arrive.
        """

    @abc.abstractmethod
    async def write(self, ops: Sequence[Op]) -> list[bool]:
        """Apply a batch, and say of each operation whether it applied.

        Operations of one batch that name the same record apply in the order given. A value that the store can't hold is
        refused with an error that fails no other caller's batch.
        """

    async def write_within(
        self,
        connection: Any,  # noqa: ARG002 -- for the few that can
        ops: Sequence[Op],  # noqa: ARG002 -- see above
    ) -> list[bool]:
        """Apply a batch as part of a transaction of the caller's: it counts when that one is committed.

        Args:
            connection: The client library's own connection, inside a transaction.
            ops: As for `write`.

        Raises:
            OptionError: The store can't (`Capabilities.joins_transactions`).
        """
        raise OptionError(
            f"connection=... is for stores that can join your own transaction, PostgreSQL, and {self.about.title} "
            f"can't: leave it out"
        )

    @abc.abstractmethod
    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        """The records with these kinds and keys, in this order; ``None`` where there is none."""

    @abc.abstractmethod
    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        """Up to ``limit`` matching records after ``cursor``.

        They come in order of their keys; with ``expires_before`` in order of (``expires_at``, key).
        """

    async def pages(self, match: Filter, limit: int = 500) -> AsyncIterator[list[Record]]:
        """All matching records, in the order of `scan` and up to ``limit`` at a time, as they are when their turn
        comes.
        """
        page = Page([], None)
        while True:
            page = await self.scan(match, cursor=page.cursor, limit=limit)
            yield page.records
            if page.cursor is None:
                return

    @abc.abstractmethod
    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        """How many records of a kind there are in each (partition, state); empty groups are left out."""

    @abc.abstractmethod
    async def next_due(self, kind: str) -> int | None:
        """The earliest ``due_at`` of a record that is not due yet, if any: when to look again. A hint."""

    # --- events ---

    @abc.abstractmethod
    async def query(self, match: EventFilter) -> Columns:
        """The matching events as columns, in order of ``ts``. Conditions are evaluated by the store."""

    @abc.abstractmethod
    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        """The log's present end, and up to ``latest`` events before it, in the order in which they were appended.

        It may give fewer events than there are, rather than search for them.
        """

    @abc.abstractmethod
    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        """Events in the order in which they were appended, after ``position``, and the position after them."""

    @abc.abstractmethod
    async def trim_log(self, before: int) -> int:
        """Delete events with ``ts`` before this moment; says how many."""

    async def follow(self, poll_interval: float = 1.0) -> AsyncIterator[list[TaskEvent]]:
        """The live stream: what is appended from now on, in batches, for ever."""
        with self.watch() as changes:
            _, position = await self.log_end()
            while True:
                changes.clear()
                events, position = await self.read_log(position)
                if events:
                    yield events
                else:
                    await changes.wait(poll_interval)

    # --- hints ---

    @abc.abstractmethod
    def watch(self, *, claimable: bool = False, others: bool = False) -> Watcher:
        """A watcher that is notified after writes, also those of other processes where the store pushes (rule 6).

        Args:
            claimable: Only when something may have become claimable: a record was inserted or replaced with a
                ``due_at``. (An `Extend`, which usually moves it away, gives no such hint.)
            others: Only when others wrote: another driver, here or elsewhere. For who knows what this one writes.
        """
