"""What a backend's author says about the driver, and what a test of the suite gets to work with."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from msgspec.structs import replace

from ..clock import Clock, system_clock
from ..models.event import TaskEvent
from ..models.record import Filter, Insert, Record
from ..storage.driver import Capabilities, Driver
from .clock import FakeClock

SECOND = 1_000_000
KIND = "task"
"""The kind of the records that a test makes when it names none."""


class DriverHarness(abc.ABC):
    """How the suite reaches one store. The author fills in `driver_class`, `url` and both ends of the side door.

    A driver whose store has a clock of its own takes the clock that it is given instead: so the suite moves time.

    Attributes:
        driver_class: The driver under test. Other processes import it by its name.
        time_limit: Seconds after which a test that hangs fails.
    """

    driver_class: ClassVar[type[Driver]]
    time_limit: ClassVar[float] = 120.0

    # --- what a backend's author writes ---

    @abc.abstractmethod
    def url(self, tmp_path: Path) -> str:
        """URL of an empty store that no other test uses. ``tmp_path`` is an empty directory of this test's own."""

    @abc.abstractmethod
    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        """The side door: what the store holds under a key, read without the driver."""

    @abc.abstractmethod
    async def write_raw(self, url: str, record: Record) -> None:
        """The side door: put a record into the store, in the place of what is there, without the driver."""

    def make_driver(self, url: str, *, clock: Clock = system_clock, durability: str = "normal") -> Driver:
        """An unopened driver. Override it where the driver takes more than the contract's arguments."""
        return self.driver_class(url, clock=clock, durability=durability)

    def unusable_url(self, tmp_path: Path) -> str | None:
        """URL of a store that can't be opened, with the password ``hunter2`` if it takes one; ``None``: no such."""
        return None

    async def discard(self, url: str) -> None:  # noqa: B027 -- most stores go with their directory
        """Remove the store after a test, where it would otherwise stay."""

    # --- how the suite runs its tests ---

    @property
    def capabilities(self) -> Capabilities:
        """What the driver declares."""
        return self.driver_class.capabilities

    def run(self, test: Callable[[StoreUnderTest], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
        """Run one test on an event loop of its own, with a new store, and fail it when it hangs."""

        async def within_the_limit() -> None:
            async with (
                asyncio.timeout(self.time_limit),
                StoreUnderTest.opened(self, self.url(tmp_path), tmp_path) as store,
            ):
                await test(store)

        asyncio.run(within_the_limit())


class StoreUnderTest:
    """One empty store with an open driver, a clock that the test moves, and the side door.

    Attributes:
        url: The store's URL.
        clock: Every driver that the test opens uses it.
        driver: Open; closed when the test ends.
        directory: Empty; the test's own.
    """

    def __init__(self, harness: DriverHarness, url: str, directory: Path, closing: AsyncExitStack) -> None:
        self.harness = harness
        self.url = url
        self.directory = directory
        self.clock = FakeClock()
        self.driver = harness.make_driver(url, clock=self.clock)
        self._closing = closing

    @classmethod
    @asynccontextmanager
    async def opened(cls, harness: DriverHarness, url: str, directory: Path) -> AsyncIterator[StoreUnderTest]:
        """A store whose drivers are all closed at the end."""
        async with AsyncExitStack() as closing:
            store = cls(harness, url, directory, closing)
            closing.push_async_callback(harness.discard, url)
            await closing.enter_async_context(store.driver)
            yield store

    async def open_another(self, *, clock: Clock | None = None, durability: str = "normal") -> Driver:
        """A second open driver of the same store, as another process would have one."""
        driver = self.harness.make_driver(self.url, clock=clock or self.clock, durability=durability)
        return await self._closing.enter_async_context(driver)

    async def reopen(self) -> Driver:
        """Close the driver, so that all it accepted is done, and go on with a new one."""
        await self.driver.close()
        self.driver = await self.open_another()
        return self.driver

    # --- records ---

    def record(
        self,
        key: str,
        *,
        kind: str = KIND,
        partition: str = "default",
        state: str = "pending",
        rank: int = 0,
        due_in: float | None = 0.0,
        age: float = 0.0,
        expires_in: float | None = None,
        body: bytes = b"body",
    ) -> Record:
        """A record as a caller would insert it; times are seconds from now, ``due_in=None`` is never due."""
        now = self.clock()
        return Record(
            kind=kind,
            key=key,
            partition=partition,
            state=state,
            rank=rank,
            due_at=None if due_in is None else now + round(due_in * SECOND),
            owner=None,
            claims=0,
            version=1,
            created_at=now - round(age * SECOND),
            updated_at=now,
            expires_at=None if expires_in is None else now + round(expires_in * SECOND),
            body=body,
        )

    async def put(self, *records: Record) -> None:
        """Insert records that must not be there yet."""
        outcomes = await self.driver.write([Insert(record) for record in records])
        assert outcomes == [True] * len(records), "a new record was not inserted"

    async def claim(
        self,
        limit: int = 1000,
        *,
        kind: str = KIND,
        partitions: Sequence[str] | None = None,
        excluding: Collection[str] = (),
        owner: str = "owner",
        lease: float = 30.0,
    ) -> list[Record]:
        """Claim, with the lease in seconds."""
        return await self.driver.claim(kind, partitions, owner, limit, round(lease * SECOND), excluding=excluding)

    async def claim_one(self, key: str, *, owner: str = "owner", lease: float = 30.0) -> Record:
        """Claim the only due record, which must be this one."""
        (claimed,) = await self.claim(owner=owner, lease=lease)
        assert claimed.key == key
        return claimed

    async def read(self, key: str, *, kind: str = KIND) -> Record | None:
        """What the driver says the store holds."""
        (record,) = await self.driver.get([(kind, key)])
        return record

    async def must_read(self, key: str, *, kind: str = KIND) -> Record:
        """What the driver says the store holds; it must hold something."""
        record = await self.read(key, kind=kind)
        assert record is not None, f"{kind} {key!r} is gone"
        return record

    async def read_raw(self, key: str, *, kind: str = KIND) -> Record | None:
        """What the store holds, through the side door."""
        return await self.harness.read_raw(self.url, kind, key)

    async def write_raw(self, record: Record) -> None:
        """Change the store behind the driver's back, as another program would."""
        await self.harness.write_raw(self.url, record)

    async def counts_match(self, *, kind: str = KIND, driver: Driver | None = None) -> dict[tuple[str, str], int]:
        """Fail unless `Driver.count` says what a scan of all records finds; gives the counts."""
        driver = driver or self.driver
        found: dict[tuple[str, str], int] = {}
        for record in await scan_all(driver, Filter(kind=kind), limit=500):
            group = (record.partition, record.state)
            found[group] = found.get(group, 0) + 1
        counted = await driver.count(kind)
        assert counted == found, "count() and scan() disagree"
        return counted

    # --- events ---

    def event(self, n: int = 0, event_type: str = "task.enqueued", *, task_id: str | None = None) -> TaskEvent:
        """The n-th event of a test, n seconds from now."""
        return TaskEvent(
            ts=self.clock() + n * SECOND, event_type=event_type, task_id=task_id or f"task-{n}", queue="default"
        )


async def scan_all(driver: Driver, match: Filter, *, limit: int = 100) -> list[Record]:
    """Every matching record, page by page."""
    records: list[Record] = []
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        page = await driver.scan(match, cursor=cursor, limit=limit)
        assert len(page.records) <= limit, "a page is longer than its limit"
        records += page.records
        if page.cursor is None:
            return records
        assert page.cursor not in seen, "a scan goes round in circles"
        seen.add(page.cursor)
        cursor = page.cursor


def keys(records: Sequence[Record]) -> list[str]:
    """The records' keys, in order."""
    return [record.key for record in records]


def changed(record: Record, **changes: Any) -> Record:
    """A copy of the record with some fields changed."""
    return replace(record, **changes)


Harness = TypeVar("Harness", bound=DriverHarness)


def driver_test(
    test: Callable[[Harness, StoreUnderTest], Coroutine[Any, Any, None]],
) -> Callable[[Harness, Path], None]:
    """Make a test function out of a coroutine function that takes a store.

    Tests so made need pytest's ``tmp_path`` and nothing else: no plugin, no mark, no setting of pytest-asyncio.
    """

    def run(self: Harness, tmp_path: Path) -> None:
        self.run(lambda store: test(self, store), tmp_path)

    # Not functools.wraps: pytest would look through it and ask for a fixture named "store".
    run.__name__ = test.__name__
    run.__qualname__ = test.__qualname__
    run.__doc__ = test.__doc__
    run.__module__ = test.__module__
    return run
