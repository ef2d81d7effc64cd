"""Any sequence of calls: a driver and the model live through the same one, and must always say the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from ..models.event import TaskEvent
from ..models.record import Append, Delete, EventFilter, Extend, Filter, Insert, Op, Record, Replace
from ..storage.driver import Driver, Standing
from .clock import FakeClock
from .harness import SECOND, DriverHarness, scan_all
from .model import Model

T = TypeVar("T")

# Weighted so that most calls do something: records are due, claims take them, batches are sent.
kinds = st.sampled_from(["task"] * 4 + ["result"])
record_keys = st.sampled_from(["a", "b", "B", "c%", "é"])
partitions = st.sampled_from(["p", "q", "r"])
partition_lists = st.sampled_from([None, None, ["p", "q"], ["r", "q", "p"], ["q"], ["r", "p", "r"], []])
excluded = st.sampled_from([(), (), ("p",), ("q", "r"), ("p", "nobody")])
limits = st.sampled_from([9, 9, 2, 1, 0])
states = st.sampled_from(["pending", "done"])
ranks = st.integers(-1, 1)
offsets = st.sampled_from([0, 0, 0, -1, 1, 3, None])
"""Seconds from now; none: never."""
bodies = st.sampled_from([b"x", b"", b"\x00" * 5])
event_types = st.sampled_from(["task.started", "task.done", "queue.paused"])
which = st.integers(0, 8)
"""Chooses among the records seen so far, counted from the latest."""
guards = st.sampled_from([None, None, 0, 1, 2])
sends = st.sampled_from([True, True, True, False])
flags = st.booleans()
_LEASE = 2 * SECOND
"""Of what is handed over."""
seeds = st.tuples(record_keys, partitions, ranks, st.integers(0, 2))


def owner_of(kind: str) -> str:
    """Who leaves claims of a kind standing."""
    return f"who waits for a {kind}"


class DriverMachine(RuleBasedStateMachine):
    """Calls a driver and a `Model` in step. Operations gather in a batch until one of them sends it."""

    harness: ClassVar[DriverHarness]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.model = Model()
        self.batch: list[Op] = []
        self.url = self.harness.url(Path(self.directory.name))
        self.driver: Driver = self.harness.make_driver(self.url, clock=self.clock)
        self.wait_for(self.driver.open())
        _, self.position = self.wait_for(self.driver.log_end())
        self.events_read = 0
        self.seen: list[Record] = []
        self.signs = count()
        self.wait_for(self.listen())

    def teardown(self) -> None:
        self.wait_for(self.close())
        self.wait_for(self.harness.discard(self.url))
        self.runner.close()
        self.directory.cleanup()

    def wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        async def within_a_minute() -> T:
            async with asyncio.timeout(60):
                return await call

        return self.runner.run(within_a_minute())

    async def listen(self) -> None:
        """Watch, as who lets claims stand must, until the store knows of it."""
        self.changes = self.driver.watch(claimable=True)
        for number in self.signs if self.harness.capabilities.hands_over else ():
            now, key = self.clock(), f"{number}"
            while await self.stand("sign", None, 9, (), 60):
                pass  # what was not handed over: only a claim that finds nothing stands
            await self.driver.write([Insert(Record("sign", key, "", "", 0, now, None, 0, 1, now, now, None, b""))])
            (record,) = await self.driver.get([("sign", key)])
            if record is not None and record.owner is not None:
                await self.fetch("sign", 1)
                return

    async def close(self) -> None:
        self.changes.close()
        await self.driver.close()

    # --- writing ---

    def at(self, offset: int | None) -> int | None:
        return None if offset is None else self.clock() + offset * SECOND

    def record(
        self, kind: str, key: str, partition: str, state: str, rank: int, *, due: int | None, expires: int | None,
        age: int, body: bytes,
    ) -> Record:  # fmt: skip
        now, due_at, expires_at = self.clock(), self.at(due), self.at(expires)
        return Record(kind, key, partition, state, rank, due_at, None, 0, 1, now - age, now, expires_at, body)

    def add(self, op: Op, guard: int | None, *, send: bool) -> None:
        if guard is not None and guard < len(self.batch):
            op = replace(op, after=guard)
        self.batch.append(op)
        if send:
            self.send()

    def send(self) -> None:
        batch, self.batch = self.batch, []
        outcomes = self.wait_for(self.driver.write(batch))
        assert outcomes == self.model.write(batch)
        for op, applied in zip(batch, outcomes, strict=True):
            if applied and isinstance(op, Delete):
                # Versions begin anew with the next record of this key: what was read before is no fence for it.
                gone = (op.previous.kind, op.previous.key)
                self.seen = [record for record in self.seen if (record.kind, record.key) != gone]
        for kind in ("task", "result") if self.harness.capabilities.hands_over else ():
            self.wait_for(self.take_what_was_handed_over(kind))

    def earlier(self, number: int) -> Record:
        return self.seen[-1 - number % len(self.seen)]

    @initialize(seeds=st.lists(seeds, min_size=2, max_size=5))
    def begin_with_due_records(self, seeds: list[tuple[str, str, int, int]]) -> None:
        for key, partition, rank, age in seeds:
            record = self.record("task", key, partition, "pending", rank, due=0, expires=None, age=age, body=b"x")
            self.batch.append(Insert(record))
        self.send()
        self.get("task", [key for key, *_ in seeds])

    @rule(
        kind=kinds, key=record_keys, partition=partitions, state=states, rank=ranks, due=offsets, expires=offsets,
        age=st.integers(0, 2), body=bodies, guard=guards, send=sends,
    )  # fmt: skip
    def insert(
        self, *, kind: str, key: str, partition: str, state: str, rank: int, due: int | None, expires: int | None,
        age: int, body: bytes, guard: int | None, send: bool,
    ) -> None:  # fmt: skip
        record = self.record(kind, key, partition, state, rank, due=due, expires=expires, age=age, body=body)
        self.add(Insert(record), guard, send=send)

    @precondition(lambda self: self.seen)
    @rule(
        number=which, partition=partitions, state=states, rank=ranks, due=offsets, expires=offsets, same_body=flags,
        guard=guards, send=sends,
    )  # fmt: skip
    def replace(
        self, *, number: int, partition: str, state: str, rank: int, due: int | None, expires: int | None,
        same_body: bool, guard: int | None, send: bool,
    ) -> None:  # fmt: skip
        previous = self.earlier(number)
        record = replace(
            previous,
            partition=partition,
            state=state,
            rank=rank,
            due_at=self.at(due),
            expires_at=self.at(expires),
            body=previous.body if same_body else b"other",
        )
        self.add(Replace(record, previous), guard, send=send)

    @precondition(lambda self: self.seen)
    @rule(number=which, guard=guards, send=sends)
    def settle(self, *, number: int, guard: int | None, send: bool) -> None:
        previous = self.earlier(number)
        self.add(Replace(replace(previous, state="done", due_at=None), previous), guard, send=False)
        done = TaskEvent(ts=self.clock(), event_type="task.done", task_id=previous.key)
        self.add(Append((done,)), len(self.batch) - 1, send=send)

    @precondition(lambda self: self.seen)
    @rule(number=which, due=st.integers(-2, 5), guard=guards, send=sends)
    def extend(self, *, number: int, due: int, guard: int | None, send: bool) -> None:
        self.add(Extend(self.earlier(number), self.clock() + due * SECOND), guard, send=send)

    @precondition(lambda self: self.seen)
    @rule(number=which, guard=guards)
    def delete(self, *, number: int, guard: int | None) -> None:
        self.add(Delete(self.earlier(number)), guard, send=True)

    @rule(times=st.lists(st.tuples(st.integers(-2, 2), event_types), max_size=3), guard=guards, send=sends)
    def append(self, *, times: list[tuple[int, str]], guard: int | None, send: bool) -> None:
        events = tuple(TaskEvent(ts=self.clock() + n * SECOND, event_type=event_type) for n, event_type in times)
        self.add(Append(events), guard, send=send)

    @precondition(lambda self: self.batch)
    @rule()
    def send_batch(self) -> None:
        self.send()

    # --- claiming and time ---

    @rule(
        kind=kinds, chosen=partition_lists, excluding=excluded, limit=limits, lease=st.integers(1, 4),
    )  # fmt: skip
    def claim(self, kind: str, chosen: list[str] | None, excluding: tuple[str, ...], limit: int, lease: int) -> None:
        claimed = self.wait_for(self.driver.claim(kind, chosen, "owner", limit, lease * SECOND, excluding=excluding))
        assert claimed == self.model.claim(kind, chosen, "owner", limit, lease * SECOND, excluding, self.clock())
        self.seen += claimed

    @rule(lease=st.integers(1, 4))
    def claim_whatever_is_due(self, lease: int) -> None:
        self.claim("task", None, (), 9, lease)

    @rule(
        kind=kinds, chosen=partition_lists.filter(lambda chosen: chosen != []), excluding=excluded,
        limit=st.sampled_from([9, 2, 1]), seconds=st.sampled_from([60, 60, 1]),
    )  # fmt: skip
    def claim_or_stand(
        self, *, kind: str, chosen: list[str] | None, excluding: tuple[str, ...], limit: int, seconds: int
    ) -> None:
        excluding = excluding if chosen is None else ()
        owner, until = owner_of(kind), self.clock() + seconds * SECOND
        while claimed := self.wait_for(self.stand(kind, chosen, limit, excluding, seconds)):
            assert claimed == self.model.claim(kind, chosen, owner, limit, 4 * SECOND, excluding, self.clock())
            self.seen += claimed
        assert self.model.claim(kind, chosen, owner, limit, 4 * SECOND, excluding, self.clock()) == []
        self.model.stand(kind, chosen, owner, limit, excluding, until)  # only a claim that finds nothing stands

    async def stand(
        self, kind: str, chosen: list[str] | None, limit: int, excluding: tuple[str, ...], seconds: int
    ) -> list[Record]:
        return await self.driver.claim_or_stand(
            kind, chosen, owner_of(kind), limit, 4 * SECOND, Standing(seconds * SECOND, _LEASE), excluding=excluding
        )

    @rule(kind=kinds)
    def end_standing(self, kind: str) -> None:
        self.wait_for(self.driver.end_standing(kind, owner_of(kind)))
        self.model.end_standing(kind)

    async def take_what_was_handed_over(self, kind: str) -> None:
        """The model hands over what the store did, and whoever stood must be told of it."""
        known = {record.key: record.version for record in self.model.records.values() if record.kind == kind}
        stored = await self.driver.get([(kind, key) for key in known])
        given = [record for record in stored if record is not None and record.version > known[record.key]]
        # A store that has a clock of its own knows of a test's only by what it is told, and that may have been earlier.
        moment = given[0].updated_at if given else self.clock()
        assert moment <= self.clock()
        handed = self.model.hand_over(kind, len(given), _LEASE, moment)
        assert await self.fetch(kind, len(given)) == handed
        self.seen += handed

    async def fetch(self, kind: str, n: int) -> list[Record]:
        found: list[Record] = []
        while True:
            self.changes.clear()
            found += self.driver.handed_over(owner_of(kind), 100)
            if len(found) >= n:
                return found
            await self.changes.wait(60)

    @rule(seconds=st.sampled_from([1, 2, 10, 0.000001]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # --- reading ---

    @rule(kind=kinds, asked=st.lists(record_keys, max_size=3))
    def get(self, kind: str, asked: list[str]) -> None:
        found = self.wait_for(self.driver.get([(kind, key) for key in asked]))
        assert found == [self.model.records.get((kind, key)) for key in asked]
        self.seen += [record for record in found if record is not None]

    @rule(
        kind=kinds, partition=st.none() | partitions, state=st.none() | states, expires=offsets,
        prefix=st.sampled_from(["", "c", "c%", "b"]), newest_first=flags, limit=st.integers(1, 4),
    )  # fmt: skip
    def scan(
        self, *, kind: str, partition: str | None, state: str | None, expires: int | None, prefix: str,
        newest_first: bool, limit: int,
    ) -> None:  # fmt: skip
        match = Filter(
            kind=kind,
            partition=partition,
            state=state,
            expires_before=self.at(expires),
            prefix=prefix,
            newest_first=newest_first and expires is None,
        )
        assert self.wait_for(scan_all(self.driver, match, limit=limit)) == self.model.scan(match)

    @rule(
        types=st.lists(st.sampled_from(["task.*", "task.done", "queue.paused"]), max_size=2), since=offsets,
        until=offsets, limit=st.none() | st.integers(0, 3),
    )  # fmt: skip
    def query(self, types: list[str], since: int | None, until: int | None, limit: int | None) -> None:
        match = EventFilter(types=tuple(types), since=self.at(since), until=self.at(until), limit=limit)
        columns = self.wait_for(self.driver.query(match))
        expected = self.model.query(match)
        assert columns["ts"] == [event.ts for event in expected]
        if limit is None:  # which of several events of one moment are the latest is left open
            assert sorted(columns["event_type"]) == sorted(event.event_type for event in expected)

    @rule(limit=st.integers(1, 5))
    def read_log(self, limit: int) -> None:
        events, self.position = self.wait_for(self.driver.read_log(self.position, limit))
        assert events == self.model.events[self.events_read : self.events_read + limit]
        self.events_read += len(events)

    @rule()
    def reopen(self) -> None:
        if self.harness.capabilities.durable:
            for kind in ("task", "result"):
                self.end_standing(kind)
            self.wait_for(self.close())
            self.driver = self.driver.clone()
            self.wait_for(self.driver.open())
            self.wait_for(self.listen())

    @invariant()
    def same_state(self) -> None:
        self.wait_for(self.compare())

    async def compare(self) -> None:
        for kind in ("task", "result"):
            assert await scan_all(self.driver, Filter(kind=kind)) == self.model.scan(Filter(kind=kind))
            assert await self.driver.count(kind) == self.model.count(kind)
            assert await self.driver.next_due(kind) == self.model.next_due(kind, self.clock())
        columns = await self.driver.query(EventFilter())
        assert columns["ts"] == [event.ts for event in self.model.query(EventFilter())]


class ModelTests(DriverHarness):
    """Proves that no sequence of calls, of those that Hypothesis finds, makes the driver differ from the model.

    Attributes:
        model_settings: How long Hypothesis looks for one.
    """

    model_settings: ClassVar[settings] = settings(
        max_examples=50,
        stateful_step_count=25,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )

    def test_driver_agrees_with_the_model(self) -> None:
        machine = type("DriverMachine", (DriverMachine,), {"harness": self})
        with pytest.MonkeyPatch.context() as patch:
            # Hypothesis has no public setting for how long it shrinks; its own five minutes exceed a test's time limit.
            patch.setattr("hypothesis.internal.conjecture.engine.MAX_SHRINKING_SECONDS", 30, raising=False)
            run_state_machine_as_test(machine, settings=self.model_settings)
