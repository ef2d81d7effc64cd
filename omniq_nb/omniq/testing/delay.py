"""Delay: records become claimable at their due time, by themselves: after a delay as after a lease (rule 3)."""

from __future__ import annotations

from datetime import UTC, datetime

from ..clock import from_datetime
from ..models.record import Delete, Extend, Replace
from .harness import SECOND, DriverHarness, StoreUnderTest, changed, driver_test, keys


class DelayTests(DriverHarness):
    """Proves to the microsecond when a record becomes claimable."""

    @driver_test
    async def test_delayed_record_comes_at_its_moment(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a", due_in=5))
        store.clock.advance(4.999999)
        assert await store.claim() == []
        store.clock.advance(0.000001)
        assert keys(await store.claim()) == ["a"]

    @driver_test
    async def test_lease_ends_at_its_moment(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        await store.claim_one("a", owner="first", lease=30)
        store.clock.advance(29.999999)
        assert await store.claim() == []
        store.clock.advance(0.000001)
        again = await store.claim_one("a", owner="second", lease=7)
        assert (again.owner, again.claims, again.version) == ("second", 2, 3)
        assert again.due_at == store.clock() + 7 * SECOND

    @driver_test
    async def test_delays_end_one_after_the_other(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:02}", due_in=n, partition=f"p{n % 2}") for n in range(20, 0, -1)))
        for n in range(1, 21):
            assert await store.claim() == []
            store.clock.advance(1)
            assert keys(await store.claim(lease=3600)) == [f"{n:02}"]
        assert await store.counts_match() == {("p0", "running"): 10, ("p1", "running"): 10}

    @driver_test
    async def test_long_delay_is_kept_through_many_looks(self, store: StoreUnderTest) -> None:
        far = from_datetime(datetime(2150, 1, 1, 0, 0, 0, 123457, tzinfo=UTC), "far")
        await store.put(changed(store.record("a"), due_at=far))
        for _ in range(10):
            store.clock.advance(86400)
            assert await store.claim() == []
        assert await store.driver.next_due("task") == far
        store.clock.now = far - 1
        assert await store.claim() == []
        store.clock.now = far
        assert keys(await store.claim()) == ["a"]

    @driver_test
    async def test_heartbeat_moves_the_end_of_the_lease(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a", lease=10)
        assert await store.driver.write([Extend(held, store.clock() + 25 * SECOND)]) == [True]
        store.clock.advance(24.999999)
        assert await store.claim() == []
        store.clock.advance(0.000001)
        assert keys(await store.claim()) == ["a"]

    @driver_test
    async def test_lease_can_be_handed_back_at_once(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        held = await store.claim_one("a", lease=3600)
        assert await store.driver.write([Extend(held, store.clock())]) == [True]
        assert (await store.claim_one("a", owner="second")).claims == 2

    @driver_test
    async def test_due_time_of_a_waiting_record_can_be_moved(self, store: StoreUnderTest) -> None:
        sooner, later = store.record("sooner", due_in=50), store.record("later")
        await store.put(sooner, later)
        now = store.clock()
        assert await store.driver.write([Extend(sooner, now), Extend(later, now + 50 * SECOND)]) == [True, True]
        assert keys(await store.claim(lease=3600)) == ["sooner"]
        store.clock.advance(50)
        assert keys(await store.claim()) == ["later"]

    @driver_test
    async def test_replace_decides_when_a_record_is_due_again(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(name) for name in ("done", "retry", "now")))
        held = {record.key: record for record in await store.claim(lease=5)}
        now = store.clock()
        assert await store.driver.write(
            [
                Replace(changed(held["done"], state="succeeded", due_at=None), held["done"]),
                Replace(changed(held["retry"], state="pending", due_at=now + 8 * SECOND), held["retry"]),
                Replace(changed(held["now"], state="pending", due_at=now), held["now"]),
            ]
        ) == [True, True, True]
        assert keys(await store.claim(lease=3600)) == ["now"]
        store.clock.advance(7)  # past the end of the first lease
        assert await store.claim() == []
        store.clock.advance(1)
        assert keys(await store.claim(lease=3600)) == ["retry"]
        store.clock.advance(3000)
        assert await store.claim() == []

    @driver_test
    async def test_record_that_was_due_can_be_put_off(self, store: StoreUnderTest) -> None:
        record = store.record("a")
        await store.put(record)
        assert await store.driver.write([Replace(changed(record, due_at=store.clock() + SECOND), record)]) == [True]
        assert await store.claim() == []
        blocked = await store.must_read("a")
        assert await store.driver.write([Replace(changed(blocked, state="blocked", due_at=None), blocked)]) == [True]
        store.clock.advance(10)
        assert await store.claim() == []

    @driver_test
    async def test_many_leases_end_together(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:04}", age=n % 7, partition=f"p{n % 5}") for n in range(1500)))
        assert len(await store.claim(1500, owner="killed", lease=30)) == 1500
        store.clock.advance(30)
        again = await store.claim(1500, owner="next")
        assert keys(again) == [f"{n:04}" for n in sorted(range(1500), key=lambda n: (-(n % 7), n))]
        assert {(record.owner, record.claims, record.version) for record in again} == {("next", 2, 3)}
        assert sum((await store.counts_match()).values()) == 1500

    # A server's clock is set right, or another server takes over whose clock is behind. What was due may then be taken
    # all the same, or has to wait once more; only lost it must not be.

    @driver_test
    async def test_clock_that_goes_back_loses_no_record(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n}", partition=f"p{n % 2}") for n in range(4)))
        store.clock.now -= 50_000
        claimed = [*await store.claim(2, lease=30), *await store.claim(partitions=["p1", "p0"], lease=30)]
        store.clock.advance(0.05)
        claimed += await store.claim(lease=30)
        assert sorted(keys(claimed)) == ["0", "1", "2", "3"]
        assert await store.counts_match() == {("p0", "running"): 2, ("p1", "running"): 2}

    @driver_test
    async def test_clock_that_goes_back_after_the_end_of_a_lease_loses_no_record(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"), store.record("settled"))
        held = {record.key: record for record in await store.claim(lease=30)}
        store.clock.advance(30)
        # Who looks elsewhere may note all the same that the leases have ended.
        assert await store.claim(partitions=["elsewhere"]) == []
        store.clock.now -= 20_000
        done = changed(held["settled"], state="succeeded", due_at=None)
        assert await store.driver.write([Replace(done, held["settled"])]) == [True]
        again = await store.claim()
        store.clock.advance(0.02)
        (record,) = [*again, *await store.claim()]
        assert (record.key, record.claims, record.version) == ("a", 2, 3)
        assert await store.counts_match() == {("default", "running"): 1, ("default", "succeeded"): 1}

    @driver_test
    async def test_next_due_is_the_earliest_moment_ahead(self, store: StoreUnderTest) -> None:
        now = store.clock()
        assert await store.driver.next_due("task") is None
        await store.put(store.record("due"), store.record("overdue", due_in=-3), store.record("never", due_in=None))
        assert await store.driver.next_due("task") is None
        later, sooner = store.record("later", due_in=20), store.record("sooner", due_in=10, partition="q")
        await store.put(later, sooner, store.record("other kind", kind="schedule", due_in=1))
        assert await store.driver.next_due("task") == now + 10 * SECOND
        assert await store.driver.next_due("schedule") == now + SECOND
        assert await store.driver.next_due("result") is None
        assert await store.driver.write([Delete(sooner)]) == [True]
        assert await store.driver.next_due("task") == now + 20 * SECOND
        store.clock.advance(20)
        assert await store.driver.next_due("task") is None

    @driver_test
    async def test_next_due_sees_the_ends_of_leases(self, store: StoreUnderTest) -> None:
        now = store.clock()
        await store.put(store.record("a"))
        held = await store.claim_one("a", lease=30)
        assert await store.driver.next_due("task") == now + 30 * SECOND
        assert await store.driver.write([Extend(held, now + 40 * SECOND)]) == [True]
        assert await store.driver.next_due("task") == now + 40 * SECOND
        assert await store.driver.write([Replace(changed(held, due_at=None), held)]) == [True]
        assert await store.driver.next_due("task") is None
