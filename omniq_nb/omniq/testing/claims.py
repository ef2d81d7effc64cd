"""Claims: what a claim takes, what it makes of a record, and that nobody else gets it (rule 3)."""

from __future__ import annotations

import asyncio

from .harness import SECOND, DriverHarness, StoreUnderTest, changed, driver_test, keys


class ClaimTests(DriverHarness):
    """Proves which records a claim takes, and what it writes."""

    @driver_test
    async def test_claim_gives_the_record_as_it_now_stands(self, store: StoreUnderTest) -> None:
        waiting = store.record("a", partition="io", rank=3, age=7, expires_in=60, body=b"\x00work")
        await store.put(waiting)
        store.clock.advance(2)

        (claimed,) = await store.claim(owner="worker-1", lease=30)

        assert claimed == changed(
            waiting,
            state="running",
            owner="worker-1",
            claims=1,
            version=2,
            due_at=store.clock() + 30 * SECOND,
            updated_at=claimed.updated_at,
        )
        assert await store.read("a") == claimed
        assert await store.read_raw("a") == claimed

    @driver_test
    async def test_claimed_record_is_not_given_again_within_its_lease(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        other = await store.open_another()

        assert keys(await store.claim(owner="first")) == ["a"]
        assert await store.claim(owner="first") == []
        assert await other.claim("task", None, "second", 10, 30 * SECOND) == []

    @driver_test
    async def test_each_claim_adds_one_to_claims_and_version(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        for n in range(1, 6):
            claimed = await store.claim_one("a", owner=f"worker-{n}", lease=10)
            assert (claimed.claims, claimed.version, claimed.owner) == (n, n + 1, f"worker-{n}")
            store.clock.advance(10)

    @driver_test
    async def test_only_due_records_are_taken(self, store: StoreUnderTest) -> None:
        await store.put(
            store.record("past", due_in=-5),
            store.record("now", due_in=0),
            store.record("soon", due_in=0.000001),
            store.record("later", due_in=3600),
            store.record("never", due_in=None),
        )
        assert sorted(keys(await store.claim())) == ["now", "past"]

    @driver_test
    async def test_state_does_not_matter(self, store: StoreUnderTest) -> None:
        states = ["pending", "active", "paused", "succeeded", "an odd one"]
        await store.put(*(store.record(state, state=state) for state in states))
        claimed = await store.claim()
        assert sorted(keys(claimed)) == sorted(states)
        assert {record.state for record in claimed} == {"running"}
        assert await store.counts_match() == {("default", "running"): 5}

    @driver_test
    async def test_only_the_kind_asked_for_is_taken(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"), store.record("a", kind="schedule"), store.record("b", kind="schedule"))
        assert sorted(keys(await store.claim(kind="schedule"))) == ["a", "b"]
        assert await store.claim(kind="schedule") == []
        assert await store.claim(kind="result") == []
        assert keys(await store.claim()) == ["a"]

    @driver_test
    async def test_only_the_partitions_asked_for_are_taken(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(name, partition=name) for name in ("a", "b", "c")))
        assert await store.claim(partitions=["nobody", "A", "a ", "a%", "%", "*"]) == []
        assert keys(await store.claim(partitions=["c", "nobody", "a"])) == ["c", "a"]
        assert keys(await store.claim(partitions=["a", "b", "c"])) == ["b"]

    @driver_test
    async def test_no_partitions_means_nothing_and_none_means_all(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(name, partition=name) for name in ("a", "b")))
        assert await store.claim(partitions=[]) == []
        assert sorted(keys(await store.claim(partitions=None))) == ["a", "b"]

    @driver_test
    async def test_partition_named_twice_gives_its_records_once(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a", partition="p"), store.record("b", partition="q"))
        assert keys(await store.claim(partitions=["p", "q", "p"])) == ["a", "b"]
        assert (await store.must_read("a")).claims == 1

    @driver_test
    async def test_excluded_partitions_are_left_alone(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{name}{n}", partition=name) for name in ("a", "b", "c") for n in range(3)))
        assert await store.claim(excluding=["a", "b", "c"]) == []
        assert await store.claim(partitions=["a", "b"], excluding={"b", "a"}) == []
        assert {record.partition for record in await store.claim(partitions=["a", "b"], excluding=["b"])} == {"a"}
        assert {record.partition for record in await store.claim(excluding=("c", "nobody"))} == {"b"}
        assert await store.counts_match() == {("a", "running"): 3, ("b", "running"): 3, ("c", "pending"): 3}

    @driver_test
    async def test_excluded_records_do_not_use_up_the_limit(self, store: StoreUnderTest) -> None:
        paused = (store.record(f"p{n:03}", partition="paused", rank=-1, age=100) for n in range(200))
        await store.put(*paused, store.record("wanted", partition="open"))
        assert keys(await store.claim(1, excluding=["paused"])) == ["wanted"]

    @driver_test
    async def test_limit_is_kept(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:02}", partition=f"p{n % 3}") for n in range(20)))
        assert await store.claim(0) == []
        assert len(await store.claim(1)) == 1
        assert len(await store.claim(7, partitions=["p0", "p1", "p2"])) == 7
        assert len(await store.claim(100)) == 12
        assert await store.claim(100) == []

    @driver_test
    async def test_thousands_in_one_claim(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:05}", age=n) for n in range(3000)))
        claimed = await store.claim(2500)
        assert keys(claimed) == [f"{n:05}" for n in range(2999, 499, -1)]
        assert {(record.version, record.claims) for record in claimed} == {(2, 1)}
        assert await store.counts_match() == {("default", "running"): 2500, ("default", "pending"): 500}

    @driver_test
    async def test_concurrent_claims_of_one_driver_share_nothing(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:03}") for n in range(200)))
        batches = await asyncio.gather(*(store.claim(9, owner=f"w{n}") for n in range(30)))
        given = [record.key for batch in batches for record in batch]
        assert sorted(given) == [f"{n:03}" for n in range(200)]
        for n, batch in enumerate(batches):
            assert {record.owner for record in batch} <= {f"w{n}"}

    @driver_test
    async def test_record_that_came_by_the_side_door_is_claimed(self, store: StoreUnderTest) -> None:
        await store.write_raw(store.record("a", partition="elsewhere"))
        claimed = await store.claim_one("a")
        assert (claimed.version, claimed.claims) == (2, 1)
        assert await store.counts_match() == {("elsewhere", "running"): 1}

    @driver_test
    async def test_claims_of_an_empty_store_find_nothing(self, store: StoreUnderTest) -> None:
        assert await store.claim() == []
        assert await store.claim(partitions=["default"]) == []
        assert await store.counts_match() == {}
