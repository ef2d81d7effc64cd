"""Scans and reads: every filter, in a stable order, page by page, while others write."""

from __future__ import annotations

import itertools
import random

from ..models.record import Delete, Filter, Insert, Op, Record, Replace
from .harness import KIND, SECOND, DriverHarness, StoreUnderTest, changed, driver_test, keys, scan_all
from .model import matches


class ScanTests(DriverHarness):
    """Proves that reads find exactly what they should."""

    @driver_test
    async def test_get_keeps_the_order_asked_for(self, store: StoreUnderTest) -> None:
        a, b, result = store.record("a"), store.record("b"), store.record("a", kind="result")
        await store.put(b, result, a)
        asked = [(KIND, "b"), (KIND, "nobody"), ("result", "a"), (KIND, "a"), (KIND, "b"), ("result", "b")]
        assert await store.driver.get(asked) == [b, None, result, a, b, None]

    @driver_test
    async def test_get_of_thousands(self, store: StoreUnderTest) -> None:
        records = [store.record(f"{n:04}") for n in range(2500)]
        await store.put(*records)
        asked = [(KIND, f"{n:04}") for n in range(2999, -1, -1)]
        assert await store.driver.get(asked) == [None] * 500 + records[::-1]

    @driver_test
    async def test_empty_store(self, store: StoreUnderTest) -> None:
        for match in (
            Filter(kind=KIND),
            Filter(kind=KIND, state="x"),
            Filter(kind=KIND, expires_before=1, newest_first=True),
        ):
            assert await scan_all(store.driver, match) == []
        assert await store.driver.count(KIND) == {}

    @driver_test
    async def test_keys_come_in_order_of_code_points(self, store: StoreUnderTest) -> None:
        names = ["a", "B", "b", "A", "aa", "a.", "a/b", "~", "é", "z", "10", "9", "\uffee", "\U0001f600", "€", "a b"]
        await store.put(*(store.record(name) for name in names))
        for limit in (1, 3, 100):
            assert keys(await scan_all(store.driver, Filter(kind=KIND), limit=limit)) == sorted(names)
            newest = Filter(kind=KIND, newest_first=True)
            assert keys(await scan_all(store.driver, newest, limit=limit)) == sorted(names, reverse=True)

    @driver_test
    async def test_pages_are_no_longer_than_their_limit(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:03}") for n in range(250)))
        for limit in (1, 7, 50, 249, 250, 251, 1000):
            page = await store.driver.scan(Filter(kind=KIND), limit=limit)
            assert len(page.records) <= limit
            assert (page.cursor is not None) or len(page.records) == 250
            assert keys(await scan_all(store.driver, Filter(kind=KIND), limit=limit)) == [f"{n:03}" for n in range(250)]
        assert len((await store.driver.scan(Filter(kind=KIND))).records) <= 100

    @driver_test
    async def test_every_combination_of_conditions(self, store: StoreUnderTest) -> None:
        """Common and rare states, due, waiting and settled records: whichever way a driver takes, the answer is one."""
        chance = random.Random(7)
        states = ["done"] * 40 + ["pending"] * 20 + ["failed"] * 2 + ["odd"]
        records = [
            store.record(
                f"{chance.choice('ab%')}{chance.choice('_xX')}{n:03}",
                kind=chance.choice([KIND, KIND, KIND, "result"]),
                partition=chance.choice(["p", "p", "q", "rare" if n % 50 == 0 else "p"]),
                state=chance.choice(states),
                due_in=chance.choice([None, -5, 0, 5, 5000]),
                expires_in=chance.choice([None, 10, 20, 30]),
            )
            for n in range(400)
        ]
        await store.put(*records)
        now = store.clock()
        conditions = itertools.product(
            [KIND, "result", "nothing"],
            [None, "p", "q", "rare", "P", "nobody"],
            [None, "done", "pending", "failed", "odd", "nowhere", "DONE"],
            [None, now + 20 * SECOND],
            ["", "a", "a_", "a%", "ax", "%", "b_001", "zz"],
            [False, True],
        )
        for n, (kind, partition, state, before, prefix, newest_first) in enumerate(conditions):
            if n % 7 and (kind, before) != (KIND, None):
                continue  # enough of them to meet each pair
            match = Filter(
                kind=kind,
                partition=partition,
                state=state,
                expires_before=before,
                prefix=prefix,
                newest_first=newest_first and before is None,
            )
            expected = [record for record in records if matches(record, match)]
            found = await scan_all(store.driver, match, limit=60)
            assert sorted(keys(found)) == sorted(keys(expected)), f"{match} found something else"
            if before is None:
                assert keys(found) == sorted(keys(expected), reverse=match.newest_first), f"{match} is out of order"

    @driver_test
    async def test_prefix_is_taken_literally(self, store: StoreUnderTest) -> None:
        names = [
            "a",
            "ab",
            "a%",
            "a%b",
            "a_",
            "a_b",
            "a*",
            "A",
            "Ab",
            "a[b]",
            "a\\",
            "\ud7ff",
            "\ud7ffx",
            "\U0010ffff",
            "\U0010ffff1",
        ]
        await store.put(*(store.record(name) for name in names))
        for prefix in [*names, "", "a%b%", "_", "%", "*", "a?"]:
            expected = sorted(name for name in names if name.startswith(prefix))
            found = keys(await scan_all(store.driver, Filter(kind=KIND, prefix=prefix), limit=3))
            assert found == expected, f"prefix {prefix!r}"
            newest = Filter(kind=KIND, prefix=prefix, newest_first=True)
            assert keys(await scan_all(store.driver, newest, limit=2)) == expected[::-1], f"prefix {prefix!r}"

    @driver_test
    async def test_pages_are_stable_while_records_come(self, store: StoreUnderTest) -> None:
        for newest_first in (False, True):
            kind = f"kind-{newest_first}"
            old = [f"{n:03}" for n in range(0, 200, 2)]
            await store.put(*(store.record(key, kind=kind) for key in old))
            match, cursor, found = Filter(kind=kind, newest_first=newest_first), None, list[str]()
            for n in itertools.count():
                page = await store.driver.scan(match, cursor=cursor, limit=9)
                found += keys(page.records)
                if (cursor := page.cursor) is None:
                    break
                new = (2 * n + 1) % 200, 199 - 2 * n % 200
                await store.driver.write([Insert(store.record(f"{k:03}", kind=kind)) for k in new])
            assert found == sorted(set(found), reverse=newest_first), "a key came twice or out of order"
            assert set(old) <= set(found), "a record that was there all the time was left out"

    @driver_test
    async def test_pages_are_stable_while_records_go_and_change(self, store: StoreUnderTest) -> None:
        records = [store.record(f"{n:03}") for n in range(100)]
        await store.put(*records)
        found: list[str] = []
        cursor = None
        while True:
            page = await store.driver.scan(Filter(kind=KIND), cursor=cursor, limit=10)
            found += keys(page.records)
            if (cursor := page.cursor) is None:
                break
            # The one that the cursor may stand on goes, and the one before it changes.
            *_, before, last = page.records
            ops: list[Op] = [Delete(last), Replace(changed(before, state="done", due_at=None), before)]
            assert await store.driver.write(ops) == [True, True]
        assert found == keys(records)

    @driver_test
    async def test_cursor_goes_on_in_another_driver(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:02}", expires_in=n % 4) for n in range(40)))
        other = await store.open_another()
        for match in (
            Filter(kind=KIND),
            Filter(kind=KIND, newest_first=True),
            Filter(kind=KIND, expires_before=store.clock() + 9 * SECOND),
        ):
            first = await store.driver.scan(match, limit=15)
            assert first.cursor is not None
            rest: list[Record] = []
            cursor: str | None = first.cursor
            while cursor is not None:
                page = await other.scan(match, cursor=cursor, limit=15)
                rest, cursor = rest + page.records, page.cursor
            assert keys(first.records + rest) == keys(await scan_all(store.driver, match))

    @driver_test
    async def test_side_door_and_driver_see_the_same(self, store: StoreUnderTest) -> None:
        written = store.record("by the driver", partition="p", rank=-3, due_in=7, expires_in=9, body=b"\xff\x00")
        await store.put(written)
        assert await store.read_raw(written.key) == written
        raw = changed(written, key="by the side door", version=5, claims=4, owner="me", state="odd", due_at=None)
        await store.write_raw(raw)
        assert await store.read(raw.key) == raw
        assert await scan_all(store.driver, Filter(kind=KIND)) == [written, raw]
        assert await store.counts_match() == {("p", "pending"): 1, ("p", "odd"): 1}

    @driver_test
    async def test_what_one_driver_wrote_every_other_reads_at_once(self, store: StoreUnderTest) -> None:
        other = await store.open_another()
        drivers = [store.driver, other]
        previous = store.record("a")
        assert await store.driver.write([Insert(previous)]) == [True]
        for n in range(50):
            writer, reader = drivers[n % 2], drivers[(n + 1) % 2]
            (read,) = await reader.get([(KIND, "a")])
            assert read is not None
            assert read.version == n + 1
            assert await writer.write([Replace(changed(read, state=f"s{n}"), read)]) == [True]
            assert await reader.count(KIND) == {("default", f"s{n}"): 1}
            assert keys((await reader.scan(Filter(kind=KIND, state=f"s{n}"))).records) == ["a"]


class ContentTests(DriverHarness):
    """Proves that what is stored comes back as it was, whatever it is."""

    @driver_test
    async def test_bodies_come_back_byte_for_byte(self, store: StoreUnderTest) -> None:
        bodies = {
            "empty": b"",
            "zero": b"\0",
            "all": bytes(range(256)) * 3,
            "text": "ünïcödé 😀\r\n".encode(),
            "quotes": b"'\"; DROP TABLE records; --\\",
            "1 MB": random.Random(1).randbytes(1_000_000),
        }
        await store.put(*(store.record(name, body=body) for name, body in bodies.items()))
        for name, body in bodies.items():
            read = await store.must_read(name)
            assert type(read.body) is bytes
            assert read.body == body, f"the body {name!r} changed"
            raw = await store.read_raw(name)
            assert raw is not None
            assert raw.body == body, f"the body {name!r} is stored otherwise"
        assert {record.key: record.body for record in await store.claim()} == bodies
        assert {record.key: record.body for record in await scan_all(store.driver, Filter(kind=KIND))} == bodies

    @driver_test
    async def test_body_can_shrink_and_grow(self, store: StoreUnderTest) -> None:
        previous = store.record("a", body=b"x" * 100_000)
        await store.put(previous)
        for body in (b"", b"y" * 200_000, b"\0\0", b"z" * 70_000):
            assert await store.driver.write([Replace(changed(previous, body=body), previous)]) == [True]
            previous = await store.must_read("a")
            assert previous.body == body
            raw = await store.read_raw("a")
            assert raw is not None
            assert raw.body == body

    @driver_test
    async def test_names_may_have_any_characters(self, store: StoreUnderTest) -> None:
        names = [
            "with space",
            " leading and trailing ",
            "tab\tnewline\nreturn\r",
            "quote'double\"back`tick",
            "slash/back\\slash",
            "../../etc/passwd",
            ".",
            "..",
            "/",
            "per%cent%2Fenc",
            "under_score",
            "star*question?[brackets]{braces}",
            "colon:semi;comma,",
            "hash#amp&equals=plus+",
            "ünïcödé",
            "日本語",
            "😀 smile",
            "e\u0301 combining",
            "\u00e9 precomposed",
            "\u202eright to left",
            "UPPER",
            "upper",
            "null",
            "0",
            "-1",
            "True",
            "'; DROP TABLE records; --",
            "x" * 1000,
            "x" * 1001,
            "ü" * 700,
        ]
        records = [store.record(name, partition=name, state=name) for name in names]
        await store.put(*records)
        assert await store.driver.get([(KIND, name) for name in names]) == records
        for record in records:
            assert await store.read_raw(record.key) == record
        assert await store.driver.count(KIND) == {(name, name): 1 for name in names}
        for name, record in zip(names, records, strict=True):
            assert await scan_all(store.driver, Filter(kind=KIND, partition=name)) == [record], f"partition {name!r}"
            assert await scan_all(store.driver, Filter(kind=KIND, state=name)) == [record], f"state {name!r}"
            match = Filter(kind=KIND, prefix=name)
            assert keys(await scan_all(store.driver, match)) == sorted(
                other for other in names if other.startswith(name)
            )
        claimed = await store.claim(partitions=names, owner="owner 'ü' %")
        assert keys(claimed) == names
        settled = [Replace(changed(record, state="done", due_at=None), record) for record in claimed]
        assert await store.driver.write(settled) == [True] * len(names)
        assert await store.counts_match() == {(name, "done"): 1 for name in names}
        read = await store.driver.get([(KIND, name) for name in names])
        assert await store.driver.write([Delete(record) for record in read if record is not None]) == [True] * len(
            names
        )
        assert await store.counts_match() == {}

    @driver_test
    async def test_numbers_are_exact(self, store: StoreUnderTest) -> None:
        last = 253_402_300_799_999_999  # the last microsecond of the year 9999
        numbers = [0, 1, -1, 2**31, 2**53 + 1, last]
        records = [
            changed(
                store.record(str(n)),
                due_at=last - n,
                created_at=n,
                updated_at=n,
                expires_at=n,
                claims=abs(n),
                rank=n % 1_000_003,
            )
            for n in numbers
        ]
        await store.put(*records)
        for record in records:
            read = await store.must_read(record.key)
            assert read == record
            for field in ("rank", "due_at", "claims", "version", "created_at", "updated_at", "expires_at"):
                assert type(getattr(read, field)) is int, f"{field} is no int"

    @driver_test
    async def test_absent_values_stay_absent(self, store: StoreUnderTest) -> None:
        bare = store.record("bare", due_in=None, body=b"")
        full = changed(store.record("full", expires_in=0), owner="", due_at=0)
        await store.put(bare, full)
        assert await store.read("bare") == bare
        assert (bare.due_at, bare.owner, bare.expires_at) == (None, None, None)
        assert await store.read("full") == full
        assert await store.driver.write([Replace(changed(full, owner=None, expires_at=None), full)]) == [True]
        assert await store.read("full") == changed(full, owner=None, expires_at=None, version=2)

    @driver_test
    async def test_many_partitions(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:04}", partition=f"p{n % 300}", age=-n) for n in range(900)))
        assert len(await store.driver.count(KIND)) == 300
        order = [f"p{n}" for n in range(299, -1, -1)]
        assert keys(await store.claim(4, partitions=order)) == ["0299", "0599", "0899", "0298"]
        assert keys(await store.claim(3, partitions=None)) == ["0000", "0001", "0002"]
        assert keys(await store.claim(1, excluding=order[:-10])) == ["0003"]
