"""A driver's life: opening, closing, cloning, cancelled and concurrent calls, what outlives it (rules 5, 7, 8)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ..clock import SECOND
from ..errors import NotOpenError, StoreError
from ..models.record import Append, EventFilter, Filter, Insert, Op, Record, Replace
from ..storage.driver import Driver
from .clock import FakeClock
from .harness import KIND, DriverHarness, StoreUnderTest, changed, driver_test, keys, scan_all

Call = Callable[[], Coroutine[Any, Any, Any]]


def _every_read(driver: Driver) -> dict[str, Call]:
    return {
        "get": lambda: driver.get([(KIND, "a")]),
        "scan": lambda: driver.scan(Filter(kind=KIND)),
        "count": lambda: driver.count(KIND),
        "next_due": lambda: driver.next_due(KIND),
        "query": lambda: driver.query(EventFilter()),
        "log_end": driver.log_end,
        "read_log": lambda: driver.read_log("0"),
    }


async def _refuses_every_call(store: StoreUnderTest, driver: Driver) -> None:
    calls: dict[str, Call] = {
        "claim": lambda: driver.claim(KIND, None, "owner", 1, SECOND),
        "write": lambda: driver.write([Insert(store.record("x"))]),
        "trim_log": lambda: driver.trim_log(0),
    }
    for name, call in (_every_read(driver) | calls).items():
        try:
            await call()
        except NotOpenError:
            continue
        pytest.fail(f"{name}() of a driver that is not open did not raise NotOpenError")


def _bare(key: str, now: int) -> Record:
    return Record(KIND, key, "default", "pending", 0, now, None, 0, 1, now, now, None, b"")


async def _use(driver: Driver) -> None:
    with driver.watch() as changes:
        changes.clear()
        await driver.count(KIND)
        await driver.query(EventFilter())
        await driver.write([Append(())])
        await changes.wait(0.01)


class LifecycleTests(DriverHarness):
    """Proves that a driver can be opened, closed, cloned, interrupted and shared without harm."""

    @driver_test
    async def test_closing_twice_does_nothing(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        await store.driver.close()
        await store.driver.close()
        unopened = self.make_driver(store.url, clock=store.clock)
        await unopened.close()

    @driver_test
    async def test_calls_of_a_closed_driver_are_refused(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        driver = store.driver
        await store.reopen()
        await _refuses_every_call(store, driver)
        assert keys(await scan_all(store.driver, Filter(kind=KIND))) == ["a"]

    @driver_test
    async def test_calls_of_an_unopened_driver_are_refused(self, store: StoreUnderTest) -> None:
        await _refuses_every_call(store, self.make_driver(store.url, clock=store.clock))
        await _refuses_every_call(store, store.driver.clone())

    @driver_test
    async def test_closed_driver_can_be_opened_again(self, store: StoreUnderTest) -> None:
        other = await store.open_another()
        for n in range(3):
            await store.driver.close()
            await store.driver.open()
            await store.put(store.record(f"{n}"))
            assert (await store.must_read(f"{n}")).version == 1
        assert keys(await scan_all(other, Filter(kind=KIND))) == ["0", "1", "2"]

    @driver_test
    async def test_closing_one_driver_leaves_the_others(self, store: StoreUnderTest) -> None:
        others = [await store.open_another() for _ in range(4)]
        await store.put(store.record("a"))
        for closed, left in zip(others, [*others[1:], store.driver], strict=True):
            await closed.close()
            assert await left.count(KIND) == {("default", "pending"): 1}
        assert keys(await store.claim()) == ["a"]

    @driver_test
    async def test_closing_finishes_what_was_accepted(self, store: StoreUnderTest) -> None:
        other = await store.open_another()
        calls = [asyncio.create_task(store.driver.write([Insert(store.record(f"{n:02}"))])) for n in range(50)]
        await asyncio.sleep(0)
        await store.driver.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        for n, outcome in enumerate(outcomes):
            (there,) = await other.get([(KIND, f"{n:02}")])
            if isinstance(outcome, NotOpenError):
                assert there is None, "a refused write was done all the same"
            else:
                assert outcome == [True]
                assert there is not None, "an accepted write was lost"

    @driver_test
    async def test_clone_is_unopened_and_of_the_same_store(self, store: StoreUnderTest) -> None:
        await store.put(store.record("a"))
        twin = store.driver.clone()
        assert type(twin) is type(store.driver)
        assert (twin.url, twin.clock, twin.durability) == (
            store.driver.url,
            store.driver.clock,
            store.driver.durability,
        )
        async with twin:
            (claimed,) = await twin.claim(KIND, None, "twin", 5, 30 * SECOND)
            assert claimed.key == "a"
        assert (await store.must_read("a")).owner == "twin"

    @driver_test
    async def test_clone_works_on_another_loop_in_another_thread(self, store: StoreUnderTest) -> None:
        twin = store.driver.clone()

        async def in_the_thread() -> list[str]:
            async with twin:
                for n in range(100):
                    assert await twin.write([Insert(store.record(f"theirs-{n:03}"))]) == [True]
                return keys(await scan_all(twin, Filter(kind=KIND, prefix="theirs")))

        there = asyncio.create_task(asyncio.to_thread(asyncio.run, in_the_thread()))
        for n in range(100):
            await store.put(store.record(f"ours-{n:03}"))
        assert await there == [f"theirs-{n:03}" for n in range(100)]
        assert await store.counts_match() == {("default", "pending"): 200}

    @driver_test
    async def test_clone_in_another_thread_wakes_our_watchers(self, store: StoreUnderTest) -> None:
        if not self.capabilities.pushes:
            pytest.skip("the driver does not declare pushes")

        async def in_the_thread(n: int) -> None:
            async with store.driver.clone() as twin:
                await twin.write([Insert(store.record(f"{n}"))])

        with store.driver.watch(claimable=True) as changes:
            for n in range(5):
                changes.clear()
                there = asyncio.create_task(asyncio.to_thread(asyncio.run, in_the_thread(n)))
                assert await changes.wait(30)
                await there

    @driver_test
    async def test_calls_may_be_made_concurrently(self, store: StoreUnderTest) -> None:
        async def live(n: int) -> None:
            record = store.record(f"{n:03}", partition=f"p{n}")
            assert await store.driver.write([Insert(record), Append((store.event(n),), after=0)]) == [True, True]
            assert await store.read(record.key) == record
            (held,) = await store.claim(1, partitions=[record.partition], owner=f"w{n}")
            assert held.key == record.key
            done = changed(held, state="done", due_at=None, body=b"%d" % n)
            assert await store.driver.write([Replace(done, held)]) == [True]
            assert (await store.must_read(record.key)).body == b"%d" % n
            assert keys(await scan_all(store.driver, Filter(kind=KIND, partition=f"p{n}"))) == [record.key]
            assert (await store.driver.query(EventFilter(task_id=f"task-{n}")))["ts"] == [store.clock() + n * SECOND]
            assert (await store.driver.count(KIND))[record.partition, "done"] == 1

        await asyncio.gather(*(live(n) for n in range(60)))
        assert await store.counts_match() == {(f"p{n}", "done"): 1 for n in range(60)}

    @driver_test
    async def test_cancelled_writes_leave_the_store_consistent(self, store: StoreUnderTest) -> None:
        accepted: set[int] = set()
        for n in range(80):
            ops: list[Op] = [
                Insert(store.record(f"{n:02}-a")),
                Insert(store.record(f"{n:02}-b"), after=0),
                Append((store.event(task_id=f"{n:02}"),), after=1),
            ]
            call = asyncio.create_task(store.driver.write(ops))
            for _ in range(n % 8):
                await asyncio.sleep(0)
            call.cancel()
            (outcome,) = await asyncio.gather(call, return_exceptions=True)
            if isinstance(outcome, list):
                assert outcome == [True, True, True]
                accepted.add(n)
        await store.put(store.record("afterwards"))
        await store.reopen()
        there = set(keys(await scan_all(store.driver, Filter(kind=KIND))))
        events = (await store.driver.query(EventFilter()))["task_id"]
        assert len(events) == len(set(events))
        for n in range(80):
            whole = (f"{n:02}-a" in there, f"{n:02}-b" in there, f"{n:02}" in events)
            if self.capabilities.atomic_batches:
                assert len(set(whole)) == 1, f"half of a batch is there: {whole}"
            else:
                assert list(whole) == sorted(whole, reverse=True), f"an operation applied without its `after`: {whole}"
            assert all(whole) or n not in accepted, "an accepted write was lost"
        assert "afterwards" in there
        await store.counts_match()

    @driver_test
    async def test_cancelled_claims_leave_the_store_consistent(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:03}") for n in range(200)))
        given: list[str] = []
        for n in range(80):
            call = asyncio.create_task(store.claim(2, owner=f"w{n}", lease=10))
            for _ in range(n % 8):
                await asyncio.sleep(0)
            call.cancel()
            (outcome,) = await asyncio.gather(call, return_exceptions=True)
            if isinstance(outcome, list):
                given += keys(outcome)
        await store.reopen()
        assert len(given) == len(set(given))
        records = {record.key: record for record in await scan_all(store.driver, Filter(kind=KIND))}
        for record in records.values():
            running = record.state == "running"
            assert (record.version, record.claims) == ((2, 1) if running else (1, 0))
            assert running == (record.owner is not None)
            assert running or record.key not in given
        await store.counts_match()
        # Whatever a cancelled claim took comes back when its lease ends.
        store.clock.advance(10)
        assert len(await store.claim(1000)) == 200

    @driver_test
    async def test_cancelled_reads_are_no_trouble(self, store: StoreUnderTest) -> None:
        await store.put(*(store.record(f"{n:03}") for n in range(200)))
        for n in range(8):
            calls = [asyncio.create_task(call()) for call in _every_read(store.driver).values()]
            for _ in range(n):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert len(await scan_all(store.driver, Filter(kind=KIND))) == 200
            assert await store.driver.count(KIND) == {("default", "pending"): 200}

    @driver_test
    async def test_reopened_store_has_everything(self, store: StoreUnderTest) -> None:
        if not self.capabilities.durable:
            pytest.skip("the driver does not declare durable")
        waiting = store.record("waiting", partition="ü", rank=-4, due_in=99, expires_in=5, body=bytes(range(256)) * 500)
        await store.put(waiting, store.record("claimed"))
        held = await store.claim_one("claimed", lease=20)
        event = store.event(3)
        assert await store.driver.write([Append((event,))]) == [True]
        _, position = await store.driver.log_end()

        await store.reopen()

        assert await store.read("waiting") == waiting
        assert await store.read("claimed") == held
        assert await store.counts_match() == {("ü", "pending"): 1, ("default", "running"): 1}
        assert await store.driver.next_due(KIND) == held.due_at
        assert (await store.driver.query(EventFilter()))["task_id"] == [event.task_id]
        assert await store.driver.read_log(position) == ([], position)
        done = changed(held, state="done", due_at=None)
        assert await store.driver.write([Replace(done, held)]) == [True], "the fence did not outlive the driver"

    @driver_test
    async def test_full_durability_works_like_normal(self, store: StoreUnderTest) -> None:
        flushing = await store.open_another(durability="full")
        assert await flushing.write([Insert(store.record(f"{n:03}")) for n in range(200)]) == [True] * 200
        for n in range(10):
            (held,) = await flushing.claim(KIND, None, f"w{n}", 1, 30 * SECOND)
            assert await flushing.write([Replace(changed(held, state="done", due_at=None), held)]) == [True]
        await flushing.close()
        assert await store.counts_match() == {("default", "done"): 10, ("default", "pending"): 190}

    @driver_test
    async def test_unusable_store_gives_a_clear_error(self, store: StoreUnderTest) -> None:
        url = self.unusable_url(store.directory)
        if url is None:
            return
        driver = self.make_driver(url, clock=store.clock)
        with pytest.raises(StoreError) as caught:
            await driver.open()
        assert caught.value.__cause__ is not None, "the original error is not chained"
        assert "hunter2" not in str(caught.value), "the message shows the password"
        await driver.close()
        await _refuses_every_call(store, driver)

    def test_closed_driver_can_be_opened_on_another_loop(self, tmp_path: Path) -> None:
        """As when a notebook's cell calls `asyncio.run` once more with the same object."""
        url, clock = self.url(tmp_path), FakeClock()
        driver = self.make_driver(url, clock=clock)

        async def live(n: int) -> None:
            async with asyncio.timeout(self.time_limit), driver:
                records = [_bare(f"{n}-{k}", clock()) for k in range(3)]
                outcomes = await asyncio.gather(*(driver.write([Insert(record)]) for record in records))
                assert outcomes == [[True]] * 3
                with driver.watch() as changes:
                    changes.clear()
                    await asyncio.sleep(0.01)
                    await driver.write([Append(())])
                    await changes.wait(0.1)
                assert len(await driver.claim(KIND, None, "owner", 10, SECOND)) == 3

        for n in range(3):
            asyncio.run(live(n))
        asyncio.run(self.discard(url))

    def test_driver_whose_closing_ended_with_its_loop_can_be_opened_on_another_loop(self, tmp_path: Path) -> None:
        """As when `asyncio.run` ends, and cancels what is left, while the driver is being closed."""
        url, clock = self.url(tmp_path), FakeClock()
        driver = self.make_driver(url, clock=clock)

        async def live(n: int) -> None:
            async with asyncio.timeout(self.time_limit):
                await driver.open()
                await _use(driver)
                for k in range(5):
                    records = [_bare(f"{n}-{k}-{i}", clock()) for i in range(99)]
                    writing.append(asyncio.create_task(driver.write([Insert(record) for record in records])))
                await asyncio.sleep(0)
                writing.append(asyncio.create_task(driver.close()))
                for _ in range(n):
                    await asyncio.sleep(0)

        async def look() -> None:
            async with asyncio.timeout(self.time_limit), driver:
                await _use(driver)
                assert await driver.write([Insert(_bare("afterwards", clock()))]) == [True]

        for n in (3, 5, 8, 13):  # earlier, it has not begun
            writing: list[asyncio.Task[Any]] = []
            asyncio.run(live(n))
        asyncio.run(look())
        asyncio.run(self.discard(url))

    def test_closing_leaves_no_thread_and_no_task(self, tmp_path: Path) -> None:
        """What a driver starts, it ends."""

        async def live(driver: Driver) -> None:
            async with driver:
                await _use(driver)

        self._leaves_nothing(tmp_path, live)

    def test_interrupted_closing_can_be_repeated_and_leaves_no_thread_and_no_task(self, tmp_path: Path) -> None:
        """As when the time that a caller gave it has run out: what it began goes on, and the next one waits for it."""

        async def live(driver: Driver) -> None:
            for n in (0, 1, 2, 3, 5, 8, 13):
                await driver.open()
                await _use(driver)
                writes = [
                    asyncio.create_task(
                        driver.write([Insert(_bare(f"{n}-{k}-{i}", driver.clock())) for i in range(99)])
                    )
                    for k in range(5)
                ]
                await asyncio.sleep(0)
                closing = asyncio.create_task(driver.close())
                for _ in range(n):
                    await asyncio.sleep(0)
                closing.cancel()
                await asyncio.gather(closing, return_exceptions=True)
                await driver.close()
                for outcome in await asyncio.gather(*writes, return_exceptions=True):
                    assert isinstance(outcome, NotOpenError) or outcome == [True] * 99
                with pytest.raises(NotOpenError):
                    await driver.count(KIND)

        self._leaves_nothing(tmp_path, live)

    def test_interrupted_opening_can_be_repeated_and_leaves_no_thread_and_no_task(self, tmp_path: Path) -> None:
        """What a cancelled caller has opened by halves is let go of."""

        async def live(driver: Driver) -> None:
            for n in (0, 1, 2, 3, 5, 8, 13):
                opening = asyncio.create_task(driver.open())
                for _ in range(n):
                    await asyncio.sleep(0)
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)
            async with driver:
                await _use(driver)

        self._leaves_nothing(tmp_path, live)

    def test_opening_at_the_same_time_gives_every_caller_a_driver_that_works(self, tmp_path: Path) -> None:
        """One of them opens, the others wait for it; also while it is being closed."""

        async def live(driver: Driver) -> None:
            async def open_and_use(n: int) -> None:
                for _ in range(n):
                    await asyncio.sleep(0)
                await driver.open()
                await _use(driver)

            await asyncio.gather(*(open_and_use(n // 2) for n in range(16)))
            closing = asyncio.create_task(driver.close())
            await asyncio.sleep(0)
            await open_and_use(0)
            assert closing.done()
            await driver.close()

        self._leaves_nothing(tmp_path, live)

    def _leaves_nothing(self, tmp_path: Path, live: Callable[[Driver], Coroutine[Any, Any, None]]) -> None:
        """Live with a driver, and fail where a thread or a task of it is left."""
        url, clock = self.url(tmp_path), FakeClock()

        async def left() -> set[asyncio.Task[Any]]:
            before = asyncio.all_tasks()
            async with asyncio.timeout(self.time_limit):
                await live(self.make_driver(url, clock=clock))
            return asyncio.all_tasks() - before

        async def warm_up() -> None:
            async with self.make_driver(url, clock=clock) as driver:
                await _use(driver)

        asyncio.run(warm_up())  # what a client library starts once for the process is not the driver's
        threads = set(threading.enumerate())
        tasks = asyncio.run(left())
        asyncio.run(self.discard(url))
        assert not tasks, f"tasks still run: {tasks}"
        for thread in set(threading.enumerate()) - threads:
            thread.join(10)  # it may be on its last step
        assert set(threading.enumerate()) <= threads, f"threads still run: {set(threading.enumerate()) - threads}"
