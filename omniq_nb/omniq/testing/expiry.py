"""Expiry: a driver only remembers when a record expires, and finds what has; the rest is decided elsewhere."""

from __future__ import annotations

from ..models.record import Delete, Filter, Insert, Replace
from .harness import KIND, SECOND, DriverHarness, StoreUnderTest, changed, driver_test, keys, scan_all


class ExpiryTests(DriverHarness):
    """Proves that expired records are found, and that nothing happens to them by itself."""

    @driver_test
    async def test_scan_finds_what_expires_before_a_moment(self, store: StoreUnderTest) -> None:
        await store.put(
            store.record("never"),
            store.record("early", expires_in=-5),
            store.record("before", expires_in=9.999999),
            store.record("at", expires_in=10),
            store.record("after", expires_in=11),
            store.record("other kind", kind="result", expires_in=1),
        )
        moment = store.clock() + 10 * SECOND
        found = await scan_all(store.driver, Filter(kind=KIND, expires_before=moment))
        assert keys(found) == ["early", "before"]
        assert keys(await scan_all(store.driver, Filter(kind="result", expires_before=moment))) == ["other kind"]
        assert await scan_all(store.driver, Filter(kind=KIND, expires_before=0)) == []

    @driver_test
    async def test_expiry_combines_with_the_other_conditions(self, store: StoreUnderTest) -> None:
        await store.put(
            *(
                store.record(f"{partition}-{state}-{n}", partition=partition, state=state, expires_in=n or None)
                for partition in ("p", "q")
                for state in ("pending", "blocked")
                for n in range(4)
            )
        )
        moment = store.clock() + 3 * SECOND
        match = Filter(kind=KIND, partition="q", state="blocked", expires_before=moment)
        assert keys(await scan_all(store.driver, match, limit=1)) == ["q-blocked-1", "q-blocked-2"]
        match = Filter(kind=KIND, prefix="p-", expires_before=moment)
        assert keys(await scan_all(store.driver, match)) == ["p-blocked-1", "p-pending-1", "p-blocked-2", "p-pending-2"]

    @driver_test
    async def test_what_expired_first_comes_first(self, store: StoreUnderTest) -> None:
        moments = {f"{n * 37 % 50:02}": n * 13 % 10 for n in range(50)}
        await store.put(
            *(store.record(key, expires_in=moment, partition=f"p{moment % 2}") for key, moment in moments.items())
        )
        expected = sorted(moments, key=lambda key: (moments[key], key))
        match = Filter(kind=KIND, expires_before=store.clock() + 60 * SECOND)
        for limit in (1, 3, 10, 50, 51):
            assert keys(await scan_all(store.driver, match, limit=limit)) == expected
        one = Filter(kind=KIND, partition="p1", expires_before=store.clock() + 60 * SECOND)
        assert keys(await scan_all(store.driver, one, limit=4)) == [key for key in expected if moments[key] % 2]

    @driver_test
    async def test_replace_changes_the_expiry(self, store: StoreUnderTest) -> None:
        given, taken, moved = (
            store.record(name, expires_in=e) for name, e in (("given", None), ("taken", 5), ("moved", 5))
        )
        await store.put(given, taken, moved)
        now = store.clock()
        assert await store.driver.write(
            [
                Replace(changed(given, expires_at=now + 5 * SECOND), given),
                Replace(changed(taken, expires_at=None), taken),
                Replace(changed(moved, expires_at=now + 50 * SECOND), moved),
            ]
        ) == [True, True, True]
        assert keys(await scan_all(store.driver, Filter(kind=KIND, expires_before=now + 10 * SECOND))) == ["given"]
        assert keys(await scan_all(store.driver, Filter(kind=KIND, expires_before=now + 60 * SECOND))) == [
            "given",
            "moved",
        ]

    @driver_test
    async def test_claiming_leaves_the_expiry(self, store: StoreUnderTest) -> None:
        record = store.record("a", expires_in=5)
        await store.put(record)
        assert (await store.claim_one("a")).expires_at == record.expires_at
        assert keys(
            await scan_all(store.driver, Filter(kind=KIND, state="running", expires_before=store.clock() + 6 * SECOND))
        ) == ["a"]

    @driver_test
    async def test_expired_records_stay_until_somebody_removes_them(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a", expires_in=1), store.record("b", due_in=None, expires_in=1))
        store.clock.advance(1000)
        assert (await store.must_read("b")).expires_at == store.clock() - 999 * SECOND
        assert keys(await store.claim()) == ["a"]
        assert await store.counts_match() == {("default", "running"): 1, ("default", "pending"): 1}

    @driver_test
    async def test_removing_page_by_page_removes_all(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:03}", expires_in=n % 2) for n in range(300)))
        store.clock.advance(2)
        match = Filter(kind=KIND, expires_before=store.clock())
        removed, cursor = 0, None
        while True:
            page = await store.driver.scan(match, cursor=cursor, limit=25)
            removed += sum(await store.driver.write([Delete(record) for record in page.records]))
            if (cursor := page.cursor) is None:
                break
        assert removed == 300
        assert await store.counts_match() == {}

    @driver_test
    async def test_deleted_record_expires_no_more(self, store: StoreUnderTest) -> None:
        record = store.record("a", expires_in=1)
        await store.put(record)
        assert await store.driver.write([Delete(record), Insert(store.record("a"))]) == [True, True]
        assert await scan_all(store.driver, Filter(kind=KIND, expires_before=store.clock() + 9 * SECOND)) == []
