"""Standing claims: who waits is given what comes by the write that adds it, once, and for a short time (rule 9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import pytest

from ..models.record import Insert, Record, Replace
from ..storage.driver import Driver, Standing
from .harness import KIND, SECOND, DriverHarness, StoreUnderTest, changed, driver_test, keys

_LONG = 30.0
"""Seconds that a hint may take before a test gives it up for lost; nothing waits so long when all is well."""
_LEASE = 2 * SECOND


async def _stand(
    driver: Driver,
    owner: str = "owner",
    *,
    partitions: Sequence[str] | None = None,
    limit: int = 10,
    excluding: Collection[str] = (),
    lasts: float = 60.0,
    kind: str = KIND,
) -> list[Record]:
    standing = Standing(round(lasts * SECOND), _LEASE)
    return await driver.claim_or_stand(kind, partitions, owner, limit, 30 * SECOND, standing, excluding=excluding)


async def _fetched(driver: Driver, owner: str = "owner", *, at_least: int = 1, limit: int = 1000) -> list[Record]:
    """What is handed over, waited for as a worker does."""
    found: list[Record] = []
    with driver.watch(claimable=True) as changes:
        while True:
            changes.clear()
            found += driver.handed_over(owner, limit - len(found))
            if len(found) >= at_least:
                return found
            assert await changes.wait(_LONG), f"{len(found)} records were handed over, and no hint of more came"


@asynccontextmanager
async def _listening(store: StoreUnderTest, *drivers: Driver) -> AsyncIterator[None]:
    """Watch, as who lets a claim stand must, from when hints of others have begun to come."""
    writer = await store.open_another()
    async with AsyncExitStack() as watching:
        for driver in drivers or (store.driver,):
            changes = watching.enter_context(driver.watch(others=True))
            heard = False
            for _ in range(round(_LONG)):
                changes.clear()
                record = store.record(uuid4().hex, kind="noise", due_in=None)
                assert await writer.write([Insert(record)]) == [True]
                if heard := await changes.wait(1.0):
                    break
            assert heard, "no hint of another driver's write came"
        yield


async def _nothing_comes(store: StoreUnderTest, *drivers_and_owners: tuple[Driver, str]) -> None:
    """Fail if something was handed over: a later record is, to somebody else, and so nothing is on its way any more."""
    async with _listening(store):
        assert await _stand(store.driver, "last", kind="sentinel") == []
        sentinel = store.record(uuid4().hex, kind="sentinel")
        await store.put(sentinel)
        assert keys(await _fetched(store.driver, "last")) == [sentinel.key]
    for driver, owner in drivers_and_owners:
        assert driver.handed_over(owner, 1000) == []


class StandingTests(DriverHarness):
    """Proves what a claim that was left standing is given. For drivers that declare `Capabilities.hands_over`."""

    def _needs_it(self) -> None:
        if not self.capabilities.hands_over:
            pytest.skip("the driver does not declare hands_over")

    @driver_test
    async def test_claim_that_can_not_stand_is_a_claim(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        (claimed,) = await _stand(store.driver)
        assert (claimed.key, claimed.owner, claimed.due_at) == ("a", "owner", store.clock() + 30 * SECOND)
        assert store.driver.handed_over("owner", 10) == []
        await store.driver.end_standing(KIND, "owner")

    @driver_test
    async def test_record_is_handed_to_who_stands(self, store: StoreUnderTest) -> None:
        self._needs_it()
        other = await store.open_another()
        async with _listening(store):
            assert await _stand(store.driver) == []
            waiting = store.record("a", partition="io", rank=3, age=7, expires_in=60, body=b"\x00work")
            with store.driver.watch(claimable=True) as changes:
                changes.clear()
                assert await other.write([Insert(waiting)]) == [True]
                assert await changes.wait(_LONG)
                (handed,) = await _fetched(store.driver)

        assert handed == changed(
            waiting,
            state="running",
            owner="owner",
            claims=1,
            version=2,
            due_at=store.clock() + _LEASE,
            updated_at=handed.updated_at,
        )
        assert await store.read("a") == handed
        assert await store.read_raw("a") == handed
        assert await store.counts_match() == {("io", "running"): 1}
        assert await store.claim() == []
        assert store.driver.handed_over("owner", 10) == []

    @driver_test
    async def test_own_writes_are_handed_over_too(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver) == []
            await store.put(store.record("a"))
            assert keys(await _fetched(store.driver)) == ["a"]

    @driver_test
    async def test_what_becomes_claimable_again_is_handed_over(self, store: StoreUnderTest) -> None:
        self._needs_it()
        await store.put(store.record("a"))
        claimed = await store.claim_one("a", owner="first")
        async with _listening(store):
            assert await _stand(store.driver) == []
            again = changed(claimed, state="pending", owner=None, due_at=store.clock())
            assert await store.driver.write([Replace(again, claimed)]) == [True]
            (handed,) = await _fetched(store.driver)
        assert (handed.key, handed.version, handed.claims, handed.owner) == ("a", 4, 2, "owner")

    @driver_test
    async def test_handed_record_is_fenced(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver) == []
            record = store.record("a")
            await store.put(record)
            (handed,) = await _fetched(store.driver)
        assert await store.driver.write([Replace(changed(record, state="done", due_at=None), record)]) == [False]
        done = changed(handed, state="done", due_at=None, owner=None)
        assert await store.driver.write([Replace(done, handed)]) == [True]

    @driver_test
    async def test_lease_of_what_was_handed_over_ends(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver) == []
            await store.put(store.record("a"))
            (handed,) = await _fetched(store.driver)
        store.clock.advance(2)
        taken = await store.claim_one("a", owner="second")
        assert (taken.version, taken.claims) == (3, 2)
        assert await store.driver.write([Replace(changed(handed, state="done", due_at=None), handed)]) == [False]

    @driver_test
    async def test_claim_that_stood_is_used_up(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver) == []
            await store.put(store.record("a"), store.record("b"))
            assert sorted(keys(await _fetched(store.driver, at_least=2))) == ["a", "b"]
            await store.put(store.record("c"))
            await _nothing_comes(store, (store.driver, "owner"))
        assert keys(await store.claim()) == ["c"]

    @driver_test
    async def test_limit_and_order_are_those_of_a_claim(self, store: StoreUnderTest) -> None:
        self._needs_it()
        records = [store.record(f"{rank}{age}", rank=rank, age=age) for rank in (2, 0, 1) for age in (1, 3, 2)]
        async with _listening(store):
            assert await _stand(store.driver, limit=5) == []
            await store.put(*records)
            assert keys(await _fetched(store.driver, at_least=5)) == ["03", "02", "01", "13", "12"]
        assert keys(await store.claim()) == ["11", "23", "22", "21"]

    @driver_test
    async def test_records_are_fetched_in_portions(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver) == []
            await store.put(*(store.record(f"{n}", age=9 - n) for n in range(5)))
            assert keys(await _fetched(store.driver, at_least=2, limit=2)) == ["0", "1"]
            assert keys(store.driver.handed_over("owner", 2)) == ["2", "3"]
            assert keys(store.driver.handed_over("owner", 2)) == ["4"]

    @driver_test
    async def test_only_what_was_asked_for_is_handed_over(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver, "some", partitions=["b", "a"], excluding=["c"]) == []
            assert await _stand(store.driver, "others", excluding=["a", "b"]) == []
            await store.put(
                store.record("a", partition="a"),
                store.record("b", partition="b"),
                store.record("c", partition="c"),
                store.record("other kind", kind="other"),
                store.record("later", due_in=60),
                store.record("never", due_in=None),
            )
            assert keys(await _fetched(store.driver, "some", at_least=2)) == ["b", "a"]
            assert keys(await _fetched(store.driver, "others")) == ["c"]
            await _nothing_comes(store, (store.driver, "some"), (store.driver, "others"))

    @driver_test
    async def test_claim_stands_for_its_time(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver, lasts=5) == []
            store.clock.advance(6)
            await store.put(store.record("a"))
            await _nothing_comes(store, (store.driver, "owner"))
        assert keys(await store.claim()) == ["a"]

    @driver_test
    async def test_claim_that_stands_can_be_ended(self, store: StoreUnderTest) -> None:
        self._needs_it()
        other = await store.open_another()
        async with _listening(store):
            assert await _stand(store.driver, "one") == []
            assert await _stand(store.driver, "two") == []
            await store.driver.end_standing(KIND, "one")
            await store.put(store.record("a"))
            assert keys(await _fetched(store.driver, "two")) == ["a"]
            assert await _stand(store.driver, "two") == []
            await other.end_standing(KIND)
            await store.put(store.record("b"))
            await _nothing_comes(store, (store.driver, "one"), (store.driver, "two"))
        assert keys(await store.claim()) == ["b"]

    @driver_test
    async def test_later_claim_ends_the_one_that_stands(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver) == []
            assert await store.claim(owner="owner") == []
            await store.put(store.record("a"))
            await _nothing_comes(store, (store.driver, "owner"))
            assert keys(await _stand(store.driver)) == ["a"]
            await store.put(store.record("b"))
            await _nothing_comes(store, (store.driver, "owner"))

    @driver_test
    async def test_later_claim_takes_the_place_of_the_one_that_stands(self, store: StoreUnderTest) -> None:
        self._needs_it()
        async with _listening(store):
            assert await _stand(store.driver, limit=1) == []
            assert await _stand(store.driver, partitions=["b"], limit=5) == []
            await store.put(*(store.record(f"{name}{n}", partition=name) for name in ("a", "b") for n in range(3)))
            assert sorted(keys(await _fetched(store.driver, at_least=3))) == ["b0", "b1", "b2"]
        assert sorted(keys(await store.claim())) == ["a0", "a1", "a2"]

    @driver_test
    async def test_who_has_gone_is_given_nothing_for_long(self, store: StoreUnderTest) -> None:
        self._needs_it()
        gone = await store.open_another()
        async with _listening(store, gone):
            assert await _stand(gone, "gone") == []
        await gone.close()
        await store.put(store.record("a"))
        store.clock.advance(2)  # at the latest then, if it was handed to the one that has gone
        assert keys(await store.claim()) == ["a"]

    @driver_test
    async def test_large_and_odd_contents_arrive(self, store: StoreUnderTest) -> None:
        self._needs_it()
        odd = [
            store.record("naïve: ünï ✓", partition="p:1 {x}", body=bytes(range(256))),
            store.record("large", body=b"x" * 300_000),
            store.record("empty", body=b""),
        ]
        for record in odd:
            async with _listening(store):
                assert await _stand(store.driver, "ö wner") == []
                await store.put(record)
                # What is too large to be handed over is there to be claimed, and the hint says so.
                with store.driver.watch(claimable=True) as changes:
                    while not (given := store.driver.handed_over("ö wner", 1) or await store.claim(owner="ö wner")):
                        await changes.wait(_LONG)
                        changes.clear()
                assert (given[0].key, given[0].partition, given[0].body) == (record.key, record.partition, record.body)

    @driver_test
    async def test_each_record_goes_to_one(self, store: StoreUnderTest) -> None:
        """Twelve owners on three drivers stand and claim, while three write: no record is given twice, none is lost."""
        self._needs_it()
        drivers = [store.driver, await store.open_another(), await store.open_another()]
        total, given = 300, list[str]()
        done = asyncio.Event()

        async def take(driver: Driver, owner: str) -> None:
            with driver.watch(claimable=True) as changes:
                while not done.is_set():
                    changes.clear()
                    records = driver.handed_over(owner, 7) or await _stand(driver, owner, limit=7)
                    assert {record.owner for record in records} <= {owner}
                    given.extend(keys(records))
                    if len(given) >= total:
                        done.set()
                    elif not records:
                        await changes.wait(0.2)

        async def add(driver: Driver, name: str) -> None:
            for n in range(total // len(drivers)):
                assert await driver.write([Insert(store.record(f"{name}{n}"))]) == [True]

        writers = [add(driver, f"{n}-") for n, driver in enumerate(drivers)]
        takers = [take(driver, f"owner {n}-{m}") for n, driver in enumerate(drivers) for m in range(4)]
        async with _listening(store, *drivers):
            await asyncio.gather(*writers, *takers)
        assert len(given) == len(set(given)) == total
        assert await store.counts_match() == {("default", "running"): total}
        for key in given:
            assert (await store.must_read(key)).claims == 1
