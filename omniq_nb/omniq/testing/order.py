"""Order: by rank, then by position of the partition in the caller's list, then by age, then by key (rule 4)."""

from __future__ import annotations

import random

from ..models.record import Insert, Replace
from .harness import DriverHarness, StoreUnderTest, changed, driver_test, keys


class OrderTests(DriverHarness):
    """Proves the order in which claims give records."""

    @driver_test
    async def test_smaller_ranks_first(self, store: StoreUnderTest) -> None:
        ranks = [0, 5, -5, 1_000_000, -1_000_000, 1, -1]
        await store.put(*(store.record(str(rank), rank=rank) for rank in ranks))
        assert keys(await store.claim()) == [str(rank) for rank in sorted(ranks)]

    @driver_test
    async def test_older_first_among_equal_ranks(self, store: StoreUnderTest) -> None:
        await store.put(store.record("young", age=1), store.record("old", age=9), store.record("middle", age=5))
        assert keys(await store.claim()) == ["old", "middle", "young"]

    @driver_test
    async def test_one_microsecond_is_an_age(self, store: StoreUnderTest) -> None:
        oldest = store.record("z", age=1)
        await store.put(
            changed(oldest, key="x", created_at=oldest.created_at + 2),
            changed(oldest, key="y", created_at=oldest.created_at + 1),
            oldest,
        )
        assert keys(await store.claim()) == ["z", "y", "x"]

    @driver_test
    async def test_key_decides_among_equal_ages(self, store: StoreUnderTest) -> None:
        names = ["b", "a", "B", "aa", "0", "ü", "~"]
        await store.put(*(store.record(name) for name in names))
        assert keys(await store.claim()) == sorted(names)

    @driver_test
    async def test_rank_beats_position_and_position_beats_age(self, store: StoreUnderTest) -> None:
        await store.put(
            store.record("high-second", partition="second", rank=-1, age=1),
            store.record("high-first", partition="first", rank=-1, age=0),
            store.record("low-second-old", partition="second", rank=0, age=99),
            store.record("low-first-young", partition="first", rank=0, age=0),
            store.record("low-first-old", partition="first", rank=0, age=50),
        )
        assert keys(await store.claim(partitions=["first", "second"])) == [
            "high-first",
            "high-second",
            "low-first-old",
            "low-first-young",
            "low-second-old",
        ]

    @driver_test
    async def test_position_is_that_in_the_callers_list(self, store: StoreUnderTest) -> None:
        names = ["c", "a", "b"]
        await store.put(*(store.record(f"{name}{n}", partition=name) for name in ("a", "b", "c") for n in (1, 2)))
        assert keys(await store.claim(3, partitions=names)) == ["c1", "c2", "a1"]
        assert keys(await store.claim(3, partitions=names[::-1])) == ["b1", "b2", "a2"]

    @driver_test
    async def test_without_a_list_partitions_are_equal(self, store: StoreUnderTest) -> None:
        await store.put(
            store.record("1", partition="z", age=4),
            store.record("2", partition="a", age=3),
            store.record("3", partition="m", age=2),
            store.record("4", partition="a", age=1),
        )
        assert keys(await store.claim(partitions=None)) == ["1", "2", "3", "4"]

    @driver_test
    async def test_excluding_keeps_the_order_of_the_rest(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(name, partition=name, age=n) for n, name in enumerate("abcd")))
        assert keys(await store.claim(partitions=["d", "c", "b", "a"], excluding=["c"])) == ["d", "b", "a"]

    @driver_test
    async def test_due_time_does_not_decide(self, store: StoreUnderTest) -> None:
        await store.put(
            store.record("old, due late", age=10, due_in=5),
            store.record("young, due early", age=1, due_in=1),
            store.record("middle, due at once", age=5, due_in=-3),
        )
        store.clock.advance(6)
        assert keys(await store.claim()) == ["old, due late", "middle, due at once", "young, due early"]

    @driver_test
    async def test_retried_record_keeps_its_age(self, store: StoreUnderTest) -> None:
        await store.put(store.record("first", age=2), store.record("second", age=1))
        (held,) = await store.claim(1)
        assert await store.driver.write(
            [Replace(changed(held, state="pending", owner=None, due_at=store.clock()), held)]
        ) == [True]
        assert keys(await store.claim()) == ["first", "second"]

    @driver_test
    async def test_record_whose_lease_ended_keeps_its_age(self, store: StoreUnderTest) -> None:
        await store.put(store.record("first", age=2), store.record("second", age=1))
        await store.claim(1, lease=10)
        store.clock.advance(10)
        assert keys(await store.claim()) == ["first", "second"]

    @driver_test
    async def test_replacing_rank_or_partition_moves_the_record(self, store: StoreUnderTest) -> None:
        records = [store.record(name, partition="p", age=9 - n) for n, name in enumerate("abc")]
        await store.put(*records)
        assert await store.driver.write(
            [Replace(changed(records[2], rank=-1), records[2]), Replace(changed(records[0], partition="q"), records[0])]
        ) == [True, True]
        assert keys(await store.claim(partitions=["p"])) == ["c", "b"]
        assert keys(await store.claim(partitions=["q"])) == ["a"]

    @driver_test
    async def test_many_records_come_in_one_total_order(self, store: StoreUnderTest) -> None:
        chance = random.Random(20)
        partitions = ["low", "high", "io"]
        records = [
            store.record(
                f"{n:03}", partition=chance.choice(partitions), rank=chance.randrange(-2, 3), age=chance.randrange(4)
            )
            for n in range(400)
        ]
        for start in range(0, 400, 80):
            assert all(await store.driver.write([Insert(record) for record in records[start : start + 80]]))
        expected = sorted(records, key=lambda r: (r.rank, partitions.index(r.partition), r.created_at, r.key))

        given: list[str] = []
        while batch := await store.claim(chance.randrange(1, 60), partitions=partitions):
            given += keys(batch)

        assert given == keys(expected)
