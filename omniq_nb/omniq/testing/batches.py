"""Batches: each operation is on its own, in order, and says whether it applied; `after` ties two (rule 1)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ..models.record import Append, Delete, EventFilter, Extend, Filter, Insert, Op, Record, Replace
from .harness import KIND, SECOND, DriverHarness, StoreUnderTest, changed, driver_test, keys, scan_all

UNSTORABLE: list[dict[str, Any]] = [{"rank": 2**70}, {"partition": "\ud800"}, {"state": "\udfff"}]
"""A number beyond 64 bits, text that is no Unicode: a driver may keep such values or refuse them."""


async def _event_tasks(store: StoreUnderTest) -> list[str]:
    return [str(task_id) for task_id in (await store.driver.query(EventFilter()))["task_id"]]


class BatchTests(DriverHarness):
    """Proves that a batch does what its operations would do one by one."""

    @driver_test
    async def test_empty_batch(self, store: StoreUnderTest) -> None:
        assert await store.driver.write([]) == []
        assert await store.driver.get([]) == []

    @driver_test
    async def test_each_operation_says_whether_it_applied(self, store: StoreUnderTest) -> None:
        a, b, c, d = (store.record(name) for name in "abcd")
        await store.put(a, b, c, d)
        missing = store.record("missing")
        outcomes = await store.driver.write(
            [
                Insert(a),
                Insert(store.record("e")),
                Replace(changed(a, state="done", due_at=None), a),
                Replace(changed(b, state="done", due_at=None), changed(b, version=2)),
                Replace(missing, missing),
                Append((store.event(task_id="x"),)),
                Extend(c, c.updated_at + SECOND),
                Extend(b, 0),
                Extend(missing, 0),
                Delete(d),
                Delete(changed(b, version=0)),
                Delete(missing),
            ]
        )
        assert outcomes == [False, True, True, False, False, True, True, True, False, True, False, False]
        assert keys(await scan_all(store.driver, Filter(kind=KIND))) == ["a", "b", "c", "e"]
        assert (await store.must_read("a")).state == "done"
        assert await store.read_raw("b") == changed(b, due_at=0)
        assert await store.counts_match() == {("default", "done"): 1, ("default", "pending"): 3}

    @driver_test
    async def test_failed_operation_undoes_no_other(self, store: StoreUnderTest) -> None:
        await store.put(store.record("there"))
        new = [store.record(f"{n:02}") for n in range(20)]
        ops: list[Op] = [Insert(record) for record in new]
        ops.insert(10, Insert(store.record("there")))
        assert await store.driver.write(ops) == [True] * 10 + [False] + [True] * 10
        assert await store.counts_match() == {("default", "pending"): 21}

    @driver_test
    async def test_same_key_twice_is_inserted_once(self, store: StoreUnderTest) -> None:
        first, second = store.record("a", body=b"first"), store.record("a", body=b"second", partition="q")
        assert await store.driver.write([Insert(first), Insert(second)]) == [True, False]
        assert await store.read("a") == first
        assert await store.counts_match() == {("default", "pending"): 1}

    @driver_test
    async def test_operations_on_one_record_apply_in_order(self, store: StoreUnderTest) -> None:
        v1 = store.record("a")
        v2 = changed(v1, state="running", version=2, owner="me", due_at=v1.updated_at + 9 * SECOND)
        v3 = changed(v2, state="done", version=3, due_at=None, partition="q")
        outcomes = await store.driver.write(
            [Replace(v2, v1), Insert(v1), Replace(v3, v2), Replace(v2, v1), Extend(v2, 5), Replace(v3, v2), Delete(v2)]
        )
        assert outcomes == [False, True, False, True, True, True, False]
        assert await store.read("a") == v3
        assert await store.counts_match() == {("q", "done"): 1}
        assert await store.driver.next_due(KIND) is None

    @driver_test
    async def test_record_can_be_deleted_and_inserted_in_one_batch(self, store: StoreUnderTest) -> None:
        old = store.record("a", body=b"old")
        await store.put(old)
        new = store.record("a", partition="q", state="fresh", body=b"new")
        assert await store.driver.write([Insert(new), Delete(old), Delete(old), Insert(new), Insert(new)]) == [
            False,
            True,
            False,
            True,
            False,
        ]
        assert await store.read("a") == new
        assert await store.counts_match() == {("q", "fresh"): 1}

    @driver_test
    async def test_operation_follows_the_one_it_comes_after(self, store: StoreUnderTest) -> None:
        there = store.record("there")
        await store.put(there)
        outcomes = await store.driver.write(
            [
                Insert(store.record("a")),
                Insert(store.record("b"), after=0),
                Insert(there),
                Insert(store.record("c"), after=2),
                Replace(changed(there, state="done"), there, after=2),
                Extend(there, 0, after=2),
                Delete(there, after=2),
                Append((store.event(task_id="not"),), after=2),
                Append((store.event(task_id="yes"),), after=0),
                Delete(there, after=8),
            ]
        )
        assert outcomes == [True, True, False, False, False, False, False, False, True, True]
        assert keys(await scan_all(store.driver, Filter(kind=KIND))) == ["a", "b"]
        assert await _event_tasks(store) == ["yes"]
        assert await store.counts_match() == {("default", "pending"): 2}

    @driver_test
    async def test_operation_left_out_leaves_out_those_after_it(self, store: StoreUnderTest) -> None:
        await store.put(store.record("there"))
        chain: list[Op] = [Insert(store.record("there"))]
        chain += [Insert(store.record(f"{n}"), after=n) for n in range(5)]
        chain += [Append((store.event(),), after=5), Insert(store.record("x"), after=6), Insert(store.record("free"))]
        assert await store.driver.write(chain) == [False] * 8 + [True]
        assert keys(await scan_all(store.driver, Filter(kind=KIND))) == ["free", "there"]
        assert await _event_tasks(store) == []

    @driver_test
    async def test_settlements_with_guarded_results_and_events(self, store: StoreUnderTest) -> None:
        """A worker settles a batch in which it has lost every third task: nothing of those may be written."""
        await store.put(*(store.record(f"{n:03}") for n in range(90)))
        held = await store.claim(owner="worker", lease=10)
        lost = {record.key for n, record in enumerate(held) if n % 3 == 0}
        for record in held:
            if record.key in lost:
                await store.driver.write([Replace(changed(record, state="cancelled", due_at=None), record)])
        ops: list[Op] = []
        for record in held:
            settle = len(ops)
            ops += [
                Replace(changed(record, state="succeeded", due_at=None), record),
                Insert(store.record(record.key, kind="result", due_in=None), after=settle),
                Append((store.event(1, "task.succeeded", task_id=record.key),), after=settle),
            ]
        outcomes = await store.driver.write(ops)
        for n, record in enumerate(held):
            assert outcomes[3 * n : 3 * n + 3] == [record.key not in lost] * 3
        assert await store.counts_match() == {("default", "cancelled"): 30, ("default", "succeeded"): 60}
        kept = [record.key for record in held if record.key not in lost]
        assert keys(await scan_all(store.driver, Filter(kind="result"))) == kept
        assert sorted(await _event_tasks(store)) == kept

    @driver_test
    async def test_thousands_of_operations(self, store: StoreUnderTest) -> None:
        records = [store.record(f"{n:05}", partition=f"p{n % 3}") for n in range(5000)]
        assert await store.driver.write([Insert(record) for record in records]) == [True] * 5000
        assert await store.counts_match() == {("p0", "pending"): 1667, ("p1", "pending"): 1667, ("p2", "pending"): 1666}

        def settle(n: int, record: Record) -> Op:
            stale = changed(record, version=record.version + (n % 7 == 0))
            done = changed(record, state="done", due_at=None)
            return (Replace(done, stale), Delete(stale), Extend(stale, 0), Append((store.event(n),)))[n % 4]

        outcomes = await store.driver.write([settle(n, record) for n, record in enumerate(records)])
        assert outcomes == [n % 4 == 3 or n % 7 != 0 for n in range(5000)]
        deleted = sum(n % 4 == 1 and n % 7 != 0 for n in range(5000))
        assert sum((await store.counts_match()).values()) == 5000 - deleted
        assert len(await _event_tasks(store)) == 1250

    @driver_test
    async def test_large_batch_that_applies_in_full(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:04}") for n in range(3000)))
        held = await store.claim(3000)
        ops: list[Op] = []
        for n, record in enumerate(held):
            ops += [
                Replace(changed(record, state="done", due_at=None, body=b"%d" % n), record),
                Append((store.event(n),), after=2 * n),
            ]
        assert await store.driver.write(ops) == [True] * 6000
        assert await store.counts_match() == {("default", "done"): 3000}
        assert (await store.must_read("2999")).body == b"2999"
        assert (await store.must_read("1234")).version == 3

    @driver_test
    async def test_concurrent_batches_keep_their_own_outcomes(self, store: StoreUnderTest) -> None:
        """Drivers may join batches into one transaction; `after` still counts within the caller's own."""
        await store.put(store.record("taken"))

        async def add(n: int) -> list[bool]:
            first = "taken" if n % 3 == 0 else f"{n:02}-a"
            return await store.driver.write(
                [
                    Insert(store.record(first)),
                    Insert(store.record(f"{n:02}-b"), after=0),
                    Append((store.event(task_id=f"{n:02}"),), after=1),
                    Insert(store.record(f"{n:02}-c")),
                ]
            )

        outcomes = await asyncio.gather(*(add(n) for n in range(40)))
        for n, outcome in enumerate(outcomes):
            assert outcome == ([False, False, False, True] if n % 3 == 0 else [True] * 4)
        assert sorted(await _event_tasks(store)) == [f"{n:02}" for n in range(40) if n % 3]
        assert sum((await store.counts_match()).values()) == 1 + 26 * 3 + 14

    @driver_test
    async def test_unstorable_value_fails_its_own_call_alone(self, store: StoreUnderTest) -> None:
        async def write(record: Record) -> list[bool]:
            return await store.driver.write([Insert(record)])

        calls = [write(changed(store.record(f"bad-{n}"), **change)) for n, change in enumerate(UNSTORABLE)]
        calls += [write(store.record(f"good-{n}")) for n in range(20)]
        calls += [write(changed(store.record(f"worse-{n}"), **change)) for n, change in enumerate(UNSTORABLE)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[len(UNSTORABLE) : -len(UNSTORABLE)] == [[True]] * 20
        assert keys(await scan_all(store.driver, Filter(kind=KIND, prefix="good-"))) == sorted(
            f"good-{n}" for n in range(20)
        )
        await store.put(store.record("afterwards"))

    @driver_test
    async def test_batch_with_an_unstorable_value_applies_in_full_or_not_at_all(self, store: StoreUnderTest) -> None:
        if not self.capabilities.atomic_batches:
            pytest.skip("the driver does not declare atomic_batches")
        for n, change in enumerate(UNSTORABLE):
            there = store.record(f"{n}-there")
            await store.put(there)
            before = await store.counts_match(), await _event_tasks(store)
            ops: list[Op] = [
                Insert(store.record(f"{n}-a")),
                Replace(changed(there, state="done"), there),
                Append((store.event(n),)),
                Insert(changed(store.record(f"{n}-bad"), **change)),
                Insert(store.record(f"{n}-b")),
            ]
            try:
                outcomes = await store.driver.write(ops)
            except Exception:  # noqa: BLE001 -- whatever the driver says of it
                assert await store.read(f"{n}-a") is None
                assert await store.read(f"{n}-there") == there
                assert (await store.counts_match(), await _event_tasks(store)) == before
            else:
                assert outcomes == [True] * 5
                assert await store.read(f"{n}-b") is not None

    @driver_test
    async def test_what_the_caller_does_with_its_records_does_not_reach_the_store(self, store: StoreUnderTest) -> None:
        given = store.record("a")
        await store.put(given)
        given.state = given.partition = "changed by the caller"
        read = await store.must_read("a")
        assert read.state == "pending"
        read.version = 99
        claimed = await store.claim_one("a")
        claimed.owner = "changed by the claimer"
        (page,) = (await store.driver.scan(Filter(kind=KIND))).records
        page.state = "changed by the reader"
        assert ((await store.must_read("a")).owner, (await store.must_read("a")).version) == ("owner", 2)
        assert await store.counts_match() == {("default", "running"): 1}

    @driver_test
    async def test_counts_stay_right_through_a_life(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:03}", partition=f"p{n % 2}", due_in=n % 3 * 10) for n in range(60)))
        for step in range(12):
            held = await store.claim(11, owner=f"w{step}", lease=15)
            ops: list[Op] = []
            for n, record in enumerate(held):
                if n % 5 == 0:
                    ops.append(Delete(record))
                elif n % 5 == 1:
                    ops.append(
                        Replace(changed(record, state="pending", partition="moved", due_at=store.clock()), record)
                    )
                elif n % 5 == 2:
                    ops.append(Replace(changed(record, state="failed", due_at=None), record))
                elif n % 5 == 3:
                    ops.append(Extend(record, store.clock() + 20 * SECOND))
            assert all(await store.driver.write(ops))
            assert not any(await store.driver.write([op for op in ops if not isinstance(op, Extend)]))
            await store.counts_match()
            store.clock.advance(4)
        other = await store.open_another()
        assert await store.counts_match(driver=other) == await store.driver.count(KIND)
