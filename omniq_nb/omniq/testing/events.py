"""Events: an append-only log that is filtered by the store, read in order, trimmed, and followed live."""

from __future__ import annotations

import asyncio
import itertools
import random

from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import Append, Columns, EventFilter, Insert
from ..storage.driver import Driver
from .harness import SECOND, DriverHarness, StoreUnderTest, driver_test
from .model import latest, matches_event


async def _append(driver: Driver, *events: TaskEvent) -> None:
    assert await driver.write([Append(events)]) == [True]


def _rows(columns: Columns) -> list[TaskEvent]:
    assert tuple(columns) == EVENT_FIELDS, "the columns are not the event's fields in order"
    return [TaskEvent(*row) for row in zip(*columns.values(), strict=True)]


def _full_event(store: StoreUnderTest) -> TaskEvent:
    return TaskEvent(
        ts=store.clock(),
        event_type="task.succeeded",
        task_id="ünï-'\"%",
        func="module.func",
        queue="io/1",
        worker="host:1\n2",
        attempt=65535,
        duration=0.1 + 0.2,
        schedule_id="nightly",
        data='{"text": "ü😀\\n", "n": [1, 2.5, null]}',
    )


class EventTests(DriverHarness):
    """Proves that the log keeps every event, finds it again, and tells its followers."""

    @driver_test
    async def test_empty_log_has_all_columns(self, store: StoreUnderTest) -> None:
        columns = await store.driver.query(EventFilter())
        assert columns == {field: [] for field in EVENT_FIELDS}
        assert tuple(columns) == EVENT_FIELDS
        assert (
            tuple(await store.driver.query(EventFilter(types=("task.*",), since=1, until=2, limit=3))) == EVENT_FIELDS
        )

    @driver_test
    async def test_event_comes_back_as_it_was(self, store: StoreUnderTest) -> None:
        full, bare = _full_event(store), TaskEvent(ts=store.clock() + 1, event_type="worker.started")
        zero = TaskEvent(ts=store.clock() + 2, event_type="", task_id="", duration=0.0, data="")
        await _append(store.driver, full, bare, zero)
        columns = await store.driver.query(EventFilter())
        assert _rows(columns) == [full, bare, zero]
        types = {"ts": int, "event_type": str, "attempt": int}
        optional = {
            "duration": float,
            "task_id": str,
            "func": str,
            "queue": str,
            "worker": str,
            "schedule_id": str,
            "data": str,
        }
        for field, kind in types.items():
            assert {type(value) for value in columns[field]} == {kind}, field
        for field, kind in optional.items():
            assert {type(value) for value in columns[field]} <= {kind, type(None)}, field
            assert columns[field][1] is None, field

    @driver_test
    async def test_events_come_in_order_of_time(self, store: StoreUnderTest) -> None:
        order = random.Random(3).sample(range(300), 300)
        for start in range(0, 300, 50):
            await _append(store.driver, *(store.event(n) for n in order[start : start + 50]))
        columns = await store.driver.query(EventFilter())
        assert columns["task_id"] == [f"task-{n}" for n in range(300)]

    @driver_test
    async def test_every_filter_alone_and_combined(self, store: StoreUnderTest) -> None:
        chance = random.Random(5)
        types = [
            "task.enqueued",
            "task.started",
            "task.succeeded",
            "tasks.other",
            "task_x",
            "taskX",
            "worker.started",
            "queue.paused",
        ]
        start = store.clock()
        moments = chance.sample(range(1000), 500)  # distinct, and not in the order in which they are appended
        events = [
            TaskEvent(
                ts=start + moment * SECOND,
                event_type=chance.choice(types),
                task_id=chance.choice(["a", "b", "A", None]),
                queue=chance.choice(["default", "io", None]),
                schedule_id=chance.choice(["nightly", None]),
                attempt=n,
            )
            for n, moment in enumerate(moments)
        ]
        for n in range(0, 500, 100):
            await _append(store.driver, *events[n : n + 100])
        conditions = itertools.product(
            [None, "a", "nobody"],
            [None, "nightly"],
            [(), ("task.*",), ("task.started", "queue.*"), ("task.started",), ("nothing.*",), ("task%",), ("*",)],
            [None, "io"],
            [None, start + 300 * SECOND, start + moments[0] * SECOND],
            [None, start + 700 * SECOND, start + moments[1] * SECOND],
            [None, 0, 1, 7, 10_000],
        )
        for n, (task_id, schedule_id, wanted, queue, since, until, limit) in enumerate(conditions):
            if n % 4 and task_id is not None:
                continue  # enough of them to meet each pair
            match = EventFilter(
                task_id=task_id,
                schedule_id=schedule_id,
                types=wanted,
                queue=queue,
                since=since,
                until=until,
                limit=limit,
            )
            expected = latest([event for event in events if matches_event(event, match)], limit)
            assert _rows(await store.driver.query(match)) == expected, f"{match} found something else"

    @driver_test
    async def test_recent_events_are_found_among_many_old_ones(self, store: StoreUnderTest) -> None:
        """Late reports and clocks that differ mix old events with new: `since` finds every recent one all the same."""
        recent = {10, 200, 333, 900, 1501, 1999}
        events = [store.event(n if n in recent else n - 1_000_000) for n in range(2000)]
        await _append(store.driver, *events)
        columns = await store.driver.query(EventFilter(since=store.clock()))
        assert columns["task_id"] == [f"task-{n}" for n in sorted(recent)]
        columns = await store.driver.query(EventFilter(until=store.clock()))
        assert len(columns["ts"]) == 2000 - len(recent)

    @driver_test
    async def test_bounds_of_time_are_half_open(self, store: StoreUnderTest) -> None:
        await _append(store.driver, *(TaskEvent(ts=n, event_type="t", attempt=n) for n in range(10, 20)))
        columns = await store.driver.query(EventFilter(since=12, until=15))
        assert columns["attempt"] == [12, 13, 14]
        assert (await store.driver.query(EventFilter(since=15, until=15)))["ts"] == []

    @driver_test
    async def test_limit_keeps_the_latest(self, store: StoreUnderTest) -> None:
        await _append(store.driver, *(store.event(n) for n in (3, 1, 4, 2, 5)))
        columns = await store.driver.query(EventFilter(limit=2))
        assert columns["task_id"] == ["task-4", "task-5"]

    @driver_test
    async def test_events_are_in_their_batches_transaction_order(self, store: StoreUnderTest) -> None:
        _, position = await store.driver.log_end()
        outcomes = await store.driver.write(
            [
                Append((store.event(1), store.event(0))),
                Insert(store.record("a")),
                Insert(store.record("a")),
                Append((store.event(2),), after=2),
                Append(()),
                Append((store.event(3),), after=1),
            ]
        )
        assert outcomes == [True, True, False, False, True, True]
        events, _ = await store.driver.read_log(position)
        assert [event.task_id for event in events] == ["task-1", "task-0", "task-3"]

    @driver_test
    async def test_log_is_read_in_order_of_appending(self, store: StoreUnderTest) -> None:
        await _append(store.driver, store.event(999))
        nothing, start = await store.driver.log_end()
        assert nothing == []
        assert await store.driver.read_log(start) == ([], start)
        events = [store.event(n * 7 % 100) for n in range(100)]
        for n in range(0, 100, 10):
            await _append(store.driver, *events[n : n + 10])

        position = start
        for limit in (1, 7, 100, 1000):
            read: list[TaskEvent] = []
            position = start
            while True:
                page, after = await store.driver.read_log(position, limit)
                assert len(page) <= limit
                if not page:
                    assert after == position
                    break
                read, position = read + page, after
            assert read == events
        assert (await store.driver.log_end()) == ([], position)
        assert await store.driver.read_log(start) == (events, position)

    @driver_test
    async def test_end_of_the_log_comes_with_the_latest_events(self, store: StoreUnderTest) -> None:
        events = [store.event(n * 7 % 30) for n in range(30)]
        for n in range(0, 30, 10):
            await _append(store.driver, *events[n : n + 10])
        latest, position = await store.driver.log_end(5)
        assert latest == events[len(events) - len(latest) :]
        assert 0 < len(latest) <= 5
        await _append(store.driver, store.event(31))
        later, _ = await store.driver.read_log(position)
        assert [event.task_id for event in later] == ["task-31"]
        latest, _ = await store.driver.log_end(1000)
        assert latest == [*events, store.event(31)]

    @driver_test
    async def test_positions_hold_in_another_driver(self, store: StoreUnderTest) -> None:
        other = await store.open_another()
        _, position = await other.log_end()
        full = _full_event(store)
        await _append(store.driver, full)
        await _append(other, store.event(1))
        events, position = await store.driver.read_log(position, 1)
        assert events == [full]
        events, position = await other.read_log(position)
        assert [event.task_id for event in events] == ["task-1"]
        assert await store.driver.read_log(position) == ([], position)

    @driver_test
    async def test_trimming_deletes_what_is_older(self, store: StoreUnderTest) -> None:
        await _append(store.driver, *(store.event(n * 7 % 100) for n in range(100)))
        moment = store.clock() + 40 * SECOND
        assert await store.driver.trim_log(moment) == 40
        assert await store.driver.trim_log(moment) == 0
        columns = await store.driver.query(EventFilter())
        assert columns["task_id"] == [f"task-{n}" for n in range(40, 100)]
        assert (await store.driver.query(EventFilter(until=moment)))["ts"] == []

    @driver_test
    async def test_reader_goes_on_after_trimming(self, store: StoreUnderTest) -> None:
        await _append(store.driver, store.event(5), store.event(1), store.event(6), store.event(2))
        _, end = await store.driver.log_end()
        assert await store.driver.trim_log(store.clock() + 4 * SECOND) == 2
        assert (await store.driver.read_log(end))[0] == []
        await _append(store.driver, store.event(7))
        events, end = await store.driver.read_log(end)
        assert [event.task_id for event in events] == ["task-7"]

    @driver_test
    async def test_reader_in_the_middle_reads_nothing_twice_after_trimming(self, store: StoreUnderTest) -> None:
        _, start = await store.driver.log_end()
        await _append(store.driver, *(store.event(n) for n in (9, 1, 8, 2, 7, 3)))
        first, position = await store.driver.read_log(start, 3)
        assert [event.task_id for event in first] == ["task-9", "task-1", "task-8"]
        assert await store.driver.trim_log(store.clock() + 5 * SECOND) == 3
        rest, position = await store.driver.read_log(position)
        assert [event.task_id for event in rest] == ["task-7"]
        assert await store.driver.read_log(position) == ([], position)

    @driver_test
    async def test_reader_misses_nothing_when_all_is_trimmed(self, store: StoreUnderTest) -> None:
        for n in range(5):
            await _append(store.driver, *(store.event(n) for _ in range(10)))
            _, end = await store.driver.log_end()
            assert await store.driver.trim_log(store.clock() + 60 * SECOND) == 10
            await store.reopen()
            await _append(store.driver, store.event(30 + n), store.event(40 + n))
            events, after = await store.driver.read_log(end)
            assert [event.task_id for event in events] == [f"task-{30 + n}", f"task-{40 + n}"]
            assert await store.driver.trim_log(store.clock() + 60 * SECOND) == 2
            assert (await store.driver.read_log(after))[0] == []

    @driver_test
    async def test_thousands_of_events(self, store: StoreUnderTest) -> None:
        _, start = await store.driver.log_end()
        batches = [tuple(store.event(n) for n in range(k, k + 1000)) for k in range(0, 6000, 1000)]
        assert await store.driver.write([Append(batch) for batch in batches]) == [True] * 6
        assert len((await store.driver.query(EventFilter()))["ts"]) == 6000
        assert (await store.driver.query(EventFilter(limit=3)))["task_id"] == ["task-5997", "task-5998", "task-5999"]
        events, _ = await store.driver.read_log(start, 10_000)
        assert [event.task_id for event in events] == [f"task-{n}" for n in range(6000)]
        assert await store.driver.trim_log(store.clock() + 5500 * SECOND) == 5500

    @driver_test
    async def test_follower_gets_what_is_appended_from_now_on(self, store: StoreUnderTest) -> None:
        await _append(store.driver, store.event(n=0, task_id="before"))
        followed: list[str] = []
        started = asyncio.Event()

        async def follow() -> None:
            async for batch in store.driver.follow(0.05):
                followed.extend(str(event.task_id) for event in batch)
                started.set()
                if "end" in followed:
                    return

        following = asyncio.create_task(follow())
        while not started.is_set():
            await _append(store.driver, store.event(task_id="start"))
            await asyncio.sleep(0.001)
        for n in range(200):
            await _append(store.driver, store.event(task_id=f"{n}"))
        await _append(store.driver, store.event(task_id="end"))
        await following

        assert "before" not in followed
        assert [task_id for task_id in followed if task_id not in ("start", "end")] == [f"{n}" for n in range(200)]

    @driver_test
    async def test_follower_hears_another_driver(self, store: StoreUnderTest) -> None:
        other = await store.open_another()
        heard: list[str] = []

        async def follow() -> None:
            async for batch in other.follow(0.05):
                heard.extend(str(event.task_id) for event in batch)
                if "end" in heard:
                    return

        following = asyncio.create_task(follow())
        n = 0
        while not heard:
            await _append(store.driver, store.event(task_id=f"{n}"))
            n += 1
            await asyncio.sleep(0.001)
        await _append(store.driver, store.event(task_id="end"))
        await following
        first = int(heard[0])
        assert heard == [*(f"{k}" for k in range(first, n)), "end"]

    @driver_test
    async def test_follower_can_stop_at_any_time(self, store: StoreUnderTest) -> None:
        async def follow() -> None:
            async for _ in store.driver.follow(60):
                pass

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert following.cancelled()
        await _append(store.driver, store.event(1))
        assert (await store.driver.query(EventFilter()))["task_id"] == ["task-1"]
