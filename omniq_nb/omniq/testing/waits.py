"""Waits: hints come after writes, and none slips through between looking and waiting (rule 6)."""

from __future__ import annotations

import asyncio

import pytest

from ..models.record import Append, Delete, Insert, Op, Replace
from .harness import KIND, SECOND, DriverHarness, StoreUnderTest, changed, driver_test, keys

_LONG = 30.0
"""Seconds that a hint may take before a test gives it up for lost; nothing waits so long when all is well."""


class WaitTests(DriverHarness):
    """Proves that a waiter is woken. Nothing rests on a hint, but a driver that gives none makes everybody poll."""

    @driver_test
    async def test_write_between_clear_and_wait_is_not_lost(self, store: StoreUnderTest) -> None:
        with store.driver.watch() as changes:
            for n in range(20):
                changes.clear()
                await store.put(store.record(f"{n}"))
                assert await changes.wait(_LONG)

    @driver_test
    async def test_waiter_is_woken(self, store: StoreUnderTest) -> None:
        with store.driver.watch() as changes:
            for n in range(20):
                changes.clear()
                waiting = asyncio.create_task(changes.wait(_LONG))
                await asyncio.sleep(0)
                await store.put(store.record(f"{n}"))
                assert await waiting

    @driver_test
    async def test_every_kind_of_write_gives_a_hint(self, store: StoreUnderTest) -> None:
        record = store.record("a")
        done = changed(record, state="done", due_at=None)
        writes: list[Op] = [
            Insert(record),
            Replace(done, record),
            Append((store.event(),)),
            Delete(changed(done, version=2)),
        ]
        with store.driver.watch() as changes:
            for op in writes:
                changes.clear()
                assert await store.driver.write([op]) == [True]
                assert await changes.wait(_LONG), f"no hint after {type(op).__name__}"

    @driver_test
    async def test_watcher_of_claimable_records_is_woken_by_those(self, store: StoreUnderTest) -> None:
        done = store.record("done", due_in=None)
        await store.put(done)
        writes: list[Op] = [
            Insert(store.record("now")),
            Insert(store.record("later", due_in=60)),
            Replace(changed(done, due_at=store.clock()), done),
        ]
        with store.driver.watch(claimable=True) as changes:
            for op in writes:
                changes.clear()
                assert await store.driver.write([op]) == [True]
                assert await changes.wait(_LONG), f"no hint after {op}"

    @driver_test
    async def test_one_claimable_record_in_a_batch_is_enough(self, store: StoreUnderTest) -> None:
        blocked: list[Op] = [Insert(store.record(f"{n}", due_in=None)) for n in range(50)]
        blocked += [Append((store.event(),)), Insert(store.record("due")), Append((store.event(),))]
        with store.driver.watch(claimable=True) as changes:
            changes.clear()
            await store.driver.write(blocked)
            assert await changes.wait(_LONG)

    @driver_test
    async def test_all_watchers_are_woken(self, store: StoreUnderTest) -> None:
        watchers = [store.driver.watch() for _ in range(10)] + [store.driver.watch(claimable=True) for _ in range(10)]
        waiting = [asyncio.create_task(changes.wait(_LONG)) for changes in watchers]
        await asyncio.sleep(0)
        await store.put(store.record("a"))
        assert await asyncio.gather(*waiting) == [True] * 20
        for changes in watchers:
            changes.close()

    @driver_test
    async def test_waiting_ends_without_a_hint(self, store: StoreUnderTest) -> None:
        with store.driver.watch() as changes:
            changes.clear()
            await changes.wait(0.01)
            # After a wait in vain the next one waits anew, and is woken.
            changes.clear()
            waiting = asyncio.create_task(changes.wait(_LONG))
            await asyncio.sleep(0)
            await store.put(store.record("a"))
            assert await waiting

    @driver_test
    async def test_closed_and_cancelled_watchers_are_no_trouble(self, store: StoreUnderTest) -> None:
        with store.driver.watch() as gone:
            pass
        gone.close()
        with store.driver.watch() as first, store.driver.watch() as second:
            cancelled = asyncio.create_task(first.wait(_LONG))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            first.clear()
            second.clear()
            await store.put(store.record("a"))
            assert await second.wait(_LONG)
            assert await first.wait(_LONG)

    @driver_test
    async def test_watching_can_stop_and_start_again(self, store: StoreUnderTest) -> None:
        for n in range(5):
            with store.driver.watch() as changes:
                changes.clear()
                await store.put(store.record(f"{n}"))
                assert await changes.wait(_LONG)

    @driver_test
    async def test_another_driver_is_woken(self, store: StoreUnderTest) -> None:
        if not self.capabilities.pushes:
            pytest.skip("the driver does not declare pushes")
        other = await store.open_another()
        with other.watch() as changes, other.watch(claimable=True) as claimable:
            for n in range(20):
                changes.clear()
                claimable.clear()
                await store.put(store.record(f"{n}"))
                assert await changes.wait(_LONG)
                assert await claimable.wait(_LONG)

    @driver_test
    async def test_drivers_that_come_and_go_wake_each_other(self, store: StoreUnderTest) -> None:
        if not self.capabilities.pushes:
            pytest.skip("the driver does not declare pushes")
        for n in range(5):
            async with self.make_driver(store.url, clock=store.clock) as passing:
                with passing.watch() as theirs, store.driver.watch() as ours:
                    theirs.clear()
                    await store.put(store.record(f"{n}-ours"))
                    assert await theirs.wait(_LONG)
                    ours.clear()
                    assert await passing.write([Insert(store.record(f"{n}-theirs"))]) == [True]
                    assert await ours.wait(_LONG)

    @driver_test
    async def test_workers_that_wait_as_told_find_everything(self, store: StoreUnderTest) -> None:
        """Three waiters and a writer: everything is claimed, though no waiter ever polls."""
        other = await store.open_another() if self.capabilities.pushes else store.driver
        found: list[str] = []

        async def work(name: str) -> None:
            with other.watch(claimable=True) as changes:
                while len(found) < 60:
                    changes.clear()
                    batch = await other.claim(KIND, None, name, 2, 3600 * SECOND)
                    found.extend(keys(batch))
                    if not batch and len(found) < 60:
                        assert await changes.wait(_LONG), f"a hint was lost with {len(found)} of 60 found"

        async def produce() -> None:
            for n in range(60):
                await store.put(store.record(f"{n:02}"))
                if n % 3 == 0:
                    await asyncio.sleep(0)

        workers = [asyncio.create_task(work(f"w{n}")) for n in range(3)]
        await produce()
        done, waiting = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED, timeout=_LONG)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in done:
            task.result()
        assert sorted(found) == [f"{n:02}" for n in range(60)]
