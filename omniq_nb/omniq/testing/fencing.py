"""Fencing: a write names the version that it rests on, and applies only while that version stands (rules 1 and 2)."""

from __future__ import annotations

from ..models.record import Delete, Extend, Insert, Op, Record, Replace
from .harness import SECOND, DriverHarness, StoreUnderTest, changed, driver_test, keys


def _writes_resting_on(previous: Record) -> list[Op]:
    return [Replace(changed(previous, state="stolen"), previous), Extend(previous, 0), Delete(previous)]


class FencingTests(DriverHarness):
    """Proves that whoever lost a record can't write it any more."""

    @driver_test
    async def test_insert_gives_version_one_whatever_the_record_says(self, store: StoreUnderTest) -> None:
        record = store.record("a")
        await store.put(changed(record, version=17))
        assert await store.read("a") == record
        assert await store.read_raw("a") == record

    @driver_test
    async def test_insert_leaves_an_existing_record_alone(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a", body=b"first"))
        before = await store.read_raw("a")
        other = store.record("a", partition="q", state="other", rank=9, due_in=None, expires_in=1, body=b"second")
        assert await store.driver.write([Insert(other)]) == [False]
        assert await store.read_raw("a") == before
        assert await store.counts_match() == {("default", "pending"): 1}

    @driver_test
    async def test_replace_puts_every_field_but_identity(self, store: StoreUnderTest) -> None:
        old = store.record("a", body=b"old")
        await store.put(old)
        new = Record(
            kind="task",
            key="a",
            partition="elsewhere",
            state="done",
            rank=-7,
            due_at=None,
            owner="somebody",
            claims=3,
            version=99,
            created_at=old.created_at,
            updated_at=old.updated_at + 5,
            expires_at=store.clock() + SECOND,
            body=b"new",
        )
        assert await store.driver.write([Replace(new, old)]) == [True]
        assert await store.read("a") == changed(new, version=2)
        assert await store.read_raw("a") == changed(new, version=2)
        assert await store.counts_match() == {("elsewhere", "done"): 1}

    @driver_test
    async def test_replaced_version_is_the_previous_plus_one(self, store: StoreUnderTest) -> None:
        previous = store.record("a")
        await store.put(previous)
        for said in (0, 1, 50, -3, 2):
            assert await store.driver.write([Replace(changed(previous, version=said), previous)]) == [True]
            current = await store.must_read("a")
            assert current.version == previous.version + 1
            previous = current

    @driver_test
    async def test_replace_does_not_change_created_at(self, store: StoreUnderTest) -> None:
        old = store.record("a", age=10)
        await store.put(old)
        assert await store.driver.write([Replace(changed(old, created_at=old.created_at + SECOND), old)]) == [True]
        assert (await store.must_read("a")).created_at == old.created_at

    @driver_test
    async def test_holder_of_a_deleted_record_cannot_write_its_successor(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a", age=10))
        held = await store.claim_one("a")
        assert await store.driver.write([Delete(held)]) == [True]
        await store.put(store.record("a"))
        successor = await store.claim_one("a")
        assert successor.version == held.version
        before = await store.read_raw("a")
        for op in _writes_resting_on(held):
            assert await store.driver.write([op]) == [False], f"{type(op).__name__} reached the record's next life"
        assert await store.read_raw("a") == before

    @driver_test
    async def test_writes_with_another_version_do_nothing(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a")
        before = await store.read_raw("a")
        for version in (held.version - 1, held.version + 1, 0, -1):
            for op in _writes_resting_on(changed(held, version=version)):
                assert await store.driver.write([op]) == [False], f"{type(op).__name__} with version {version} applied"
                assert await store.read_raw("a") == before
        assert await store.counts_match() == {("default", "running"): 1}

    @driver_test
    async def test_writes_to_a_missing_record_do_nothing(self, store: StoreUnderTest) -> None:
        for op in _writes_resting_on(store.record("nobody")):
            assert await store.driver.write([op]) == [False], f"{type(op).__name__} of a missing record applied"
        assert await store.read_raw("nobody") is None
        assert await store.counts_match() == {}

    @driver_test
    async def test_same_key_of_another_kind_is_another_record(self, store: StoreUnderTest) -> None:
        task, result = store.record("a"), store.record("a", kind="result", due_in=None)
        await store.put(task, result)
        assert await store.driver.write([Replace(changed(result, body=b"42"), result)]) == [True]
        assert await store.read("a") == task
        assert await store.driver.write([Delete(task)]) == [True]
        assert (await store.must_read("a", kind="result")).body == b"42"

    @driver_test
    async def test_holder_that_lost_its_lease_writes_nothing(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        old = await store.claim_one("a", owner="suspended", lease=10)
        store.clock.advance(10)
        new = await store.claim_one("a", owner="successor", lease=10)

        for op in _writes_resting_on(old):
            assert await store.driver.write([op]) == [False], f"{type(op).__name__} by the old holder applied"
        assert await store.read_raw("a") == new
        assert await store.driver.write([Replace(changed(new, state="succeeded", due_at=None), new)]) == [True]
        for op in _writes_resting_on(old):
            assert await store.driver.write([op]) == [False], f"{type(op).__name__} by the old holder applied"

    @driver_test
    async def test_holder_whose_lease_ended_may_still_write_until_somebody_claims(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a", lease=10)
        store.clock.advance(60)
        assert await store.driver.write([Extend(held, store.clock() + 10 * SECOND)]) == [True]
        assert await store.claim() == []
        assert await store.driver.write([Replace(changed(held, state="succeeded", due_at=None), held)]) == [True]

    @driver_test
    async def test_cancelling_takes_the_lease_away(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a")
        seen = await store.must_read("a")
        other = await store.open_another()
        assert await other.write([Replace(changed(seen, state="cancelled", due_at=None, owner=None), seen)]) == [True]
        for op in _writes_resting_on(held):
            assert await store.driver.write([op]) == [False]
        assert (await store.must_read("a")).state == "cancelled"

    @driver_test
    async def test_change_behind_the_drivers_back_is_noticed(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a")
        await store.write_raw(changed(held, version=held.version + 1, owner="stranger", body=b"changed"))
        for op in _writes_resting_on(held):
            assert await store.driver.write([op]) == [False]
        assert (await store.must_read("a")).owner == "stranger"

    @driver_test
    async def test_extend_moves_the_due_time_and_nothing_else(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a", expires_in=5))
        held = await store.claim_one("a", lease=10)
        due_at = store.clock() + 45 * SECOND
        assert await store.driver.write([Extend(held, due_at)]) == [True]
        extended = await store.must_read("a")
        assert extended == changed(held, due_at=due_at, updated_at=extended.updated_at)
        assert await store.read_raw("a") == extended

    @driver_test
    async def test_version_stands_through_extensions(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a", lease=10)
        for _ in range(5):
            store.clock.advance(8)
            assert await store.driver.write([Extend(held, store.clock() + 10 * SECOND)]) == [True]
            assert await store.claim() == []
        assert await store.driver.write([Replace(changed(held, state="succeeded", due_at=None), held)]) == [True]
        assert (await store.must_read("a")).version == held.version + 1

    @driver_test
    async def test_settling_after_an_extension_leaves_nothing_claimable(self, store: StoreUnderTest) -> None:
        # `previous` still carries the due time of the claim: a driver that removes index entries by it would miss one.
        await store.put(*(store.record(name) for name in ("settled", "deleted", "retried")))
        held = {record.key: record for record in await store.claim(lease=10)}
        later = store.clock() + 99 * SECOND
        assert await store.driver.write([Extend(record, later) for record in held.values()]) == [True] * 3
        again = changed(held["retried"], state="pending", due_at=store.clock() + SECOND, owner=None)
        assert await store.driver.write(
            [
                Replace(changed(held["settled"], state="succeeded", due_at=None), held["settled"]),
                Delete(held["deleted"]),
                Replace(again, held["retried"]),
            ]
        ) == [True, True, True]
        assert await store.driver.next_due("task") == again.due_at
        store.clock.advance(1)
        assert keys(await store.claim(lease=1000)) == ["retried"]
        store.clock.advance(500)
        assert await store.claim() == []
        assert await store.counts_match() == {("default", "succeeded"): 1, ("default", "running"): 1}

    @driver_test
    async def test_deleted_record_is_gone(self, store: StoreUnderTest) -> None:
        record = store.record("a")
        await store.put(record)
        assert await store.driver.write([Delete(record)]) == [True]
        assert await store.read("a") is None
        assert await store.read_raw("a") is None
        assert await store.claim() == []
        for op in _writes_resting_on(record):
            assert await store.driver.write([op]) == [False]
        assert await store.counts_match() == {}
        assert await store.driver.next_due("task") is None

    @driver_test
    async def test_deleted_key_can_be_inserted_anew(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a")
        assert await store.driver.write([Delete(held)]) == [True]
        await store.put(store.record("a", partition="new", body=b"new"))
        fresh = await store.must_read("a")
        assert (fresh.version, fresh.claims, fresh.owner, fresh.body) == (1, 0, None, b"new")
        for op in _writes_resting_on(held):
            assert await store.driver.write([op]) == [False]
        assert keys(await store.claim(partitions=["new"])) == ["a"]

    @driver_test
    async def test_record_inserted_anew_is_not_found_where_the_old_one_was(self, store: StoreUnderTest) -> None:
        # The new record has the old one's key and version: a driver whose index remembers both would mix them up.
        old = store.record("a", partition="old", state="pending", rank=-5, expires_in=1)
        late = store.record("b", due_in=5)
        await store.put(old, late)
        assert await store.driver.write([Delete(old), Delete(late)]) == [True, True]
        await store.put(store.record("a", partition="new", state="fresh", rank=5), store.record("b", due_in=50))
        assert await store.counts_match() == {("new", "fresh"): 1, ("default", "pending"): 1}
        assert await store.driver.next_due("task") == store.clock() + 50 * SECOND
        assert await store.claim(partitions=["old"]) == []
        await store.put(store.record("first", partition="new", rank=0))
        store.clock.advance(10)
        assert keys(await store.claim()) == ["first", "a"]
        assert await store.counts_match() == {("new", "running"): 2, ("default", "pending"): 1}

    @driver_test
    async def test_running_record_can_be_deleted_by_its_holder(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a", lease=5)
        assert await store.driver.write([Delete(held)]) == [True]
        store.clock.advance(10)
        assert await store.claim() == []
