"""The suite can fail: each driver here has one bug of a kind that real stores have, and the suite finds it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from msgspec.structs import replace
from omniq.backends.memory import MemoryDriver
from omniq.backends.memory_store import store_of
from omniq.models.event import TaskEvent
from omniq.models.record import Append, Columns, Delete, EventFilter, Extend, Filter, Insert, Op, Page, Record, Replace
from omniq.storage.driver import Key, Position
from omniq.storage.watch import Watcher, Watchers
from omniq.testing import DriverConformance
from omniq.testing.batches import BatchTests
from omniq.testing.claims import ClaimTests
from omniq.testing.delay import DelayTests
from omniq.testing.events import EventTests
from omniq.testing.expiry import ExpiryTests
from omniq.testing.fencing import FencingTests
from omniq.testing.harness import DriverHarness
from omniq.testing.lifecycle import LifecycleTests
from omniq.testing.machine import ModelTests
from omniq.testing.memory import MemoryHarness
from omniq.testing.order import OrderTests
from omniq.testing.races import RaceTests
from omniq.testing.scans import ContentTests, ScanTests
from omniq.testing.standing import StandingTests
from omniq.testing.waits import WaitTests

from .standing_bugs import (
    STANDING_BUGS,
    HandsOver,
    HandsOverForLong,
    HandsOverOfAnyPartition,
    HandsOverWhatItHasNotClaimed,
    LetsAClaimStandWhenItWasUsed,
)


class _Broken(MemoryDriver):
    """A memory driver, and the means to break it."""

    def current(self, record: Record) -> Record | None:
        return store_of(self.url.removeprefix("memory://")).records.get((record.kind, record.key))


class _EachOp(_Broken):
    """Puts something else in the place of each operation."""

    def other(self, op: Op) -> Op:
        raise NotImplementedError

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        outcomes: list[bool] = []
        for op in ops:
            skipped = op.after is not None and not outcomes[op.after]
            outcomes += [False] if skipped else await super().write([self.other(replace(op, after=None))])
        return outcomes


class ReplacesAnyVersion(_EachOp):
    def other(self, op: Op) -> Op:
        if isinstance(op, Replace) and (current := self.current(op.previous)):
            return Replace(op.record, current)
        return op


class ExtendsAnyVersion(_EachOp):
    def other(self, op: Op) -> Op:
        if isinstance(op, Extend) and (current := self.current(op.previous)):
            return Extend(current, op.due_at)
        return op


class DeletesAnyVersion(_EachOp):
    def other(self, op: Op) -> Op:
        if isinstance(op, Delete) and (current := self.current(op.previous)):
            return Delete(current)
        return op


class CountsAnExtensionAsAVersion(_EachOp):
    def other(self, op: Op) -> Op:
        if isinstance(op, Extend):
            return Replace(replace(op.previous, due_at=op.due_at), op.previous)
        return op


class InsertsOverWhatIsThere(_EachOp):
    def other(self, op: Op) -> Op:
        if isinstance(op, Insert) and (current := self.current(op.record)):
            return Replace(op.record, current)
        return op


class KeepsTheVersionItIsGiven(_Broken):
    async def write(self, ops: Sequence[Op]) -> list[bool]:
        outcomes = await super().write(ops)
        for op, applied in zip(ops, outcomes, strict=True):
            if applied and isinstance(op, Replace) and (current := self.current(op.record)):
                current.version = max(op.record.version, op.previous.version) + 1
        return outcomes


class ForgetsAfter(_Broken):
    async def write(self, ops: Sequence[Op]) -> list[bool]:
        return await super().write([replace(op, after=None) for op in ops])


class StopsAtTheFirstThatFails(_Broken):
    async def write(self, ops: Sequence[Op]) -> list[bool]:
        outcomes: list[bool] = []
        for op in ops:
            if outcomes and not outcomes[-1]:
                return outcomes + [False] * (len(ops) - len(outcomes))
            outcomes += await super().write([replace(op, after=None)])
        return outcomes


class _OtherClaim(_Broken):
    """Claims with other arguments."""

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
        return await self.other(kind, partitions, owner, limit, lease, excluding)

    async def other(
        self, kind: str, partitions: Any, owner: str, limit: int, lease: int, excluding: Any
    ) -> list[Record]:
        return await super().claim(kind, partitions, owner, limit, lease, excluding=excluding)


class GivesTheYoungestFirst(_OtherClaim):
    async def other(
        self, kind: str, partitions: Any, owner: str, limit: int, lease: int, excluding: Any
    ) -> list[Record]:
        return (await super().other(kind, partitions, owner, limit, lease, excluding))[::-1]


class IgnoresThePartitionsPositions(_OtherClaim):
    async def other(
        self, kind: str, partitions: Any, owner: str, limit: int, lease: int, excluding: Any
    ) -> list[Record]:
        return await super().other(kind, partitions and sorted(partitions), owner, limit, lease, excluding)


class ForgetsExcluding(_OtherClaim):
    async def other(
        self, kind: str, partitions: Any, owner: str, limit: int, lease: int, excluding: Any
    ) -> list[Record]:
        return await super().other(kind, partitions, owner, limit, lease, ())


class TakesNoPartitionsForAll(_OtherClaim):
    async def other(
        self, kind: str, partitions: Any, owner: str, limit: int, lease: int, excluding: Any
    ) -> list[Record]:
        return await super().other(kind, partitions or None, owner, limit, lease, excluding)


class KeepsLeasesForEver(_OtherClaim):
    async def other(
        self, kind: str, partitions: Any, owner: str, limit: int, lease: int, excluding: Any
    ) -> list[Record]:
        return await super().other(kind, partitions, owner, limit, lease * 1000, excluding)


class ForgetsTheLease(_OtherClaim):
    async def other(
        self, kind: str, partitions: Any, owner: str, limit: int, lease: int, excluding: Any
    ) -> list[Record]:
        return await super().other(kind, partitions, owner, limit, 0, excluding)


class ClaimsInTwoSteps(_OtherClaim):
    """Looks, lets others run, and takes what it saw without looking again."""

    async def other(
        self, kind: str, partitions: Any, owner: str, limit: int, lease: int, excluding: Any
    ) -> list[Record]:
        now = self.clock()
        records = (await self.scan(Filter(kind=kind), limit=10_000)).records
        due = [r for r in records if r.due_at is not None and r.due_at <= now][:limit]
        await asyncio.sleep(0)
        claimed = [
            replace(r, state="running", owner=owner, claims=r.claims + 1, version=r.version + 1, due_at=now + lease)
            for r in due
        ]
        for record in claimed:
            if current := self.current(record):
                await self.write([Replace(record, current)])
        return claimed


class IsAMicrosecondLate(_Broken):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        clock = self.clock
        self.clock = lambda: clock() - 1


class CountsRunningAsPending(_Broken):
    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for (partition, state), n in (await super().count(kind)).items():
            group = (partition, "pending" if state == "running" else state)
            counts[group] = counts.get(group, 0) + n
        return counts


class CountsEmptyGroups(_Broken):
    async def count(self, kind: str) -> dict[tuple[str, str], int]:
        return await super().count(kind) or {("default", "pending"): 0}


class HandsOutItsOwnRecords(_Broken):
    async def get(self, keys: Sequence[Key]) -> list[Record | None]:
        await super().get([])
        records = store_of(self.url.removeprefix("memory://")).records
        return [records.get(key) for key in keys]


class PagesByOffset(_Broken):
    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        start = int(cursor or 0)
        records = (await super().scan(match, limit=1_000_000)).records[start : start + limit]
        return Page(records, str(start + limit) if len(records) == limit else None)


class LosesTheFirstOfAPage(_Broken):
    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        page = await super().scan(match, cursor=cursor, limit=limit)
        return Page(page.records[1:] if cursor else page.records, page.cursor)


class MatchesPrefixesInAnyCase(_Broken):
    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        page = await super().scan(replace(match, prefix=""), cursor=cursor, limit=limit)
        return Page([r for r in page.records if r.key.lower().startswith(match.prefix.lower())], page.cursor)


class FindsWhatExpiresAtTheMoment(_Broken):
    async def scan(self, match: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        if match.expires_before is not None:
            match = replace(match, expires_before=match.expires_before + 1)
        return await super().scan(match, cursor=cursor, limit=limit)


class KeepsBodiesAsText(_EachOp):
    def other(self, op: Op) -> Op:
        if isinstance(op, Insert) and isinstance(op.record.body, bytes):
            return Insert(replace(op.record, body=op.record.body.decode(errors="replace").encode()))
        return op


class SeesNoLeasesAhead(_Broken):
    async def next_due(self, kind: str) -> int | None:
        records = (await super().scan(Filter(kind=kind, state="pending"), limit=10_000)).records
        return min((r.due_at for r in records if r.due_at is not None and r.due_at > self.clock()), default=None)


class GivesNoHints(_Broken):
    def watch(self, *, claimable: bool = False) -> Watcher:
        return Watchers().add(claimable=claimable)


class LosesHintsBeforeTheWait(_Broken):
    """Wakes only who waits already: a hint between looking and waiting is gone."""

    def watch(self, *, claimable: bool = False) -> Watcher:
        watcher = super().watch(claimable=claimable)
        wait = watcher.wait

        async def forgetful_wait(timeout: float) -> bool:
            watcher.clear()
            return await wait(timeout)

        watcher.wait = forgetful_wait  # type: ignore[method-assign]
        return watcher


class GivesTheFirstEventsNotTheLast(_Broken):
    async def query(self, match: EventFilter) -> Columns:
        columns = await super().query(replace(match, limit=None))
        return {field: values[: match.limit] for field, values in columns.items()}


class LeavesOutTheFirstMoment(_Broken):
    async def query(self, match: EventFilter) -> Columns:
        return await super().query(replace(match, since=None if match.since is None else match.since + 1))


class ForgetsTypes(_Broken):
    async def query(self, match: EventFilter) -> Columns:
        return await super().query(replace(match, types=()))


class TrimsAMomentTooMuch(_Broken):
    async def trim_log(self, before: int) -> int:
        return await super().trim_log(before + 1)


class ReadsTheLogInOrderOfTime(_Broken):
    async def read_log(self, position: Position, limit: int = 1000) -> tuple[list[TaskEvent], Position]:
        events, position = await super().read_log(position, limit)
        return sorted(events, key=lambda event: event.ts), position


class GivesTheFirstEventsForTheLatest(_Broken):
    async def log_end(self, latest: int = 0) -> tuple[list[TaskEvent], Position]:
        events, end = await super().log_end(10**6)
        return events[:latest], end


class AppendsEventsOfFailedOps(_Broken):
    async def write(self, ops: Sequence[Op]) -> list[bool]:
        return await super().write([replace(op, after=None) if isinstance(op, Append) else op for op in ops])


class NeverCloses(_Broken):
    async def close(self) -> None:
        pass


class ClosesByHalvesWhenInterrupted(_Broken):
    _closing = False

    async def open(self) -> None:
        await super().open()
        self._closing = False

    async def close(self) -> None:
        if not self._closing:
            self._closing = True
            await asyncio.sleep(0)
            await super().close()


class SaysTooEarlyThatItIsOpen(_Broken):
    _opening = False

    async def open(self) -> None:
        if not self._opening:
            self._opening = True
            try:
                await asyncio.sleep(0)
                await super().open()
            finally:
                self._opening = False


class AnswersWithoutBeingOpened(_Broken):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._open_store = store_of(url.removeprefix("memory://"))


class DropsACancelledWriteHalfWay(_Broken):
    async def write(self, ops: Sequence[Op]) -> list[bool]:
        outcomes: list[bool] = []
        for op in ops:
            skipped = op.after is not None and not outcomes[op.after]
            outcomes += [False] if skipped else await super().write([replace(op, after=None)])
            await asyncio.sleep(0)
        return outcomes


BUGS: list[tuple[type[MemoryDriver], type[DriverHarness]]] = [
    (ReplacesAnyVersion, FencingTests),
    (ReplacesAnyVersion, RaceTests),
    (ReplacesAnyVersion, ModelTests),
    (ExtendsAnyVersion, FencingTests),
    (ExtendsAnyVersion, RaceTests),
    (DeletesAnyVersion, FencingTests),
    (CountsAnExtensionAsAVersion, FencingTests),
    (InsertsOverWhatIsThere, FencingTests),
    (InsertsOverWhatIsThere, RaceTests),
    (KeepsTheVersionItIsGiven, FencingTests),
    (ForgetsAfter, BatchTests),
    (ForgetsAfter, ModelTests),
    (StopsAtTheFirstThatFails, BatchTests),
    (GivesTheYoungestFirst, OrderTests),
    (GivesTheYoungestFirst, ModelTests),
    (IgnoresThePartitionsPositions, OrderTests),
    (ForgetsExcluding, ClaimTests),
    (ForgetsExcluding, ModelTests),
    (TakesNoPartitionsForAll, ClaimTests),
    (KeepsLeasesForEver, DelayTests),
    (KeepsLeasesForEver, ModelTests),
    (ForgetsTheLease, ClaimTests),
    (ClaimsInTwoSteps, ClaimTests),
    (ClaimsInTwoSteps, RaceTests),
    (IsAMicrosecondLate, DelayTests),
    (CountsRunningAsPending, BatchTests),
    (CountsEmptyGroups, ScanTests),
    (HandsOutItsOwnRecords, BatchTests),
    (PagesByOffset, ScanTests),
    (LosesTheFirstOfAPage, ScanTests),
    (MatchesPrefixesInAnyCase, ScanTests),
    (FindsWhatExpiresAtTheMoment, ExpiryTests),
    (KeepsBodiesAsText, ContentTests),
    (SeesNoLeasesAhead, DelayTests),
    (GivesNoHints, WaitTests),
    (LosesHintsBeforeTheWait, WaitTests),
    (GivesTheFirstEventsNotTheLast, EventTests),
    (LeavesOutTheFirstMoment, EventTests),
    (ForgetsTypes, EventTests),
    (TrimsAMomentTooMuch, EventTests),
    (ReadsTheLogInOrderOfTime, EventTests),
    (AppendsEventsOfFailedOps, BatchTests),
    (NeverCloses, LifecycleTests),
    (ClosesByHalvesWhenInterrupted, LifecycleTests),
    (SaysTooEarlyThatItIsOpen, LifecycleTests),
    (AnswersWithoutBeingOpened, LifecycleTests),
    (DropsACancelledWriteHalfWay, LifecycleTests),
    *((bug, StandingTests) for bug in STANDING_BUGS),
    (HandsOverForLong, ModelTests),
    (HandsOverOfAnyPartition, ModelTests),
    (HandsOverWhatItHasNotClaimed, ModelTests),
    (LetsAClaimStandWhenItWasUsed, ModelTests),
]


def _tests(suite: type[DriverHarness]) -> list[str]:
    return [name for name in dir(suite) if name.startswith("test_")]


def _first_failure(suite: DriverHarness, tmp_path: Path) -> str | None:
    for name in _tests(type(suite)):
        test: Callable[..., None] = getattr(suite, name)
        directory = tmp_path / name
        directory.mkdir()
        try:
            with suppress(pytest.skip.Exception):
                test(directory) if name != "test_driver_agrees_with_the_model" else test()
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 -- however a test fails, it fails
            return name
    return None


@pytest.mark.parametrize(("driver", "topic"), BUGS, ids=lambda value: value.__name__)
def test_topic_finds_the_bug(driver: type[MemoryDriver], topic: type[DriverHarness], tmp_path: Path) -> None:
    attributes = {
        "driver_class": driver,
        "time_limit": 3.0,
        "model_settings": hypothesis_settings(
            ModelTests.model_settings, phases=[Phase.generate], derandomize=True, max_examples=300
        ),
    }
    suite = type("Suite", (MemoryHarness, topic), attributes)()
    assert _first_failure(suite, tmp_path) is not None, f"{topic.__name__} does not notice that it {driver.__name__}"


def test_driver_that_hands_over_as_it_should_passes(tmp_path: Path) -> None:
    suite = type("Suite", (MemoryHarness, StandingTests, ModelTests), {"driver_class": HandsOver})()
    assert _first_failure(suite, tmp_path) is None


def test_every_topic_is_part_of_the_suite_and_finds_some_bug() -> None:
    topics = {base for base in DriverConformance.__mro__ if _tests(base) and base is not DriverConformance}
    assert {topic for _, topic in BUGS} == topics
    assert len(_tests(DriverConformance)) == sum(len(_tests(topic)) for topic in topics), "two tests share a name"
