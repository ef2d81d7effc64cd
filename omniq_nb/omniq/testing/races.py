"""Races: many claimers and writers at once, in threads and in processes, some of them killed (rules 1 to 5)."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import pytest

from ..clock import system_clock
from ..models.event import TaskEvent
from ..models.record import EventFilter, Filter
from .harness import KIND, DriverHarness, StoreUnderTest, changed, driver_test, keys, scan_all
from .racer import ROLES, Log, Note, Part, play_as_a_process, prepared

_LARGE = 100_000
"""Bytes of a body for which a driver may have another place than for its record."""


class RaceTests(DriverHarness):
    """Proves atomicity: whatever racers believe to have done, by a log of their own, is what the store says."""

    # --- twenty claimers ---

    @driver_test
    async def test_twenty_claimers_in_four_threads(self, store: StoreUnderTest) -> None:
        await self._drain(store, _in_threads)

    @driver_test
    async def test_twenty_claimers_in_four_processes(self, store: StoreUnderTest) -> None:
        self._needs_several_processes()
        await self._drain(store, _in_processes)

    async def _drain(self, store: StoreUnderTest, race: Race) -> None:
        """2,000 records, of which 200 are tried twice: none is accepted twice, none is lost, every version is right."""
        store.clock.now = system_clock()
        names = {f"{n:04}" for n in range(2000)}
        await store.put(*(store.record(name, partition=f"p{int(name) % 3}", age=1) for name in names))

        notes = await race(self, store, _parts(self, store, ["drain"] * 4, size=2000))

        expected = {(name, 2): 1 for name in names} | {(name, 4): 1 for name in names if name.endswith("0")}
        assert _tally(notes, "claimed") == expected, "some version of a record was given twice, or never"
        assert _tally(notes, "accepted") == expected, "some outcome was accepted twice, or never"
        assert len({note.racer for note in notes}) > 1, "one racer did it all: this was no race"
        last = {note.key: note for note in sorted(_of(notes, "accepted"), key=lambda note: note.version)}
        for record in await scan_all(store.driver, Filter(kind=KIND), limit=500):
            claims = 2 if record.key.endswith("0") else 1
            assert (record.state, record.claims, record.version) == ("done", claims, 1 + 2 * claims)
            assert record.body.decode() == last[record.key].racer, "another racer's outcome was stored"
        assert sum((await store.counts_match()).values()) == 2000
        columns = await store.driver.query(EventFilter())
        events = Counter(zip(columns["task_id"], columns["event_type"], strict=True))
        assert events == Counter(
            [(name, "task.succeeded") for name in names]
            + [(name, "task.retried") for name in names if name.endswith("0")]
        )

    # --- one winner ---

    @driver_test
    async def test_one_insert_and_one_replace_win_among_threads(self, store: StoreUnderTest) -> None:
        await self._contend(store, _in_threads)

    @driver_test
    async def test_one_insert_and_one_replace_win_among_processes(self, store: StoreUnderTest) -> None:
        self._needs_several_processes()
        await self._contend(store, _in_processes)

    async def _contend(self, store: StoreUnderTest, race: Race) -> None:
        store.clock.now = system_clock()
        names = {f"{n:04}" for n in range(300)}
        await store.put(*(store.record(name, due_in=None) for name in names))

        notes = await race(self, store, _parts(self, store, ["contend"] * 4, size=300))

        assert _tally(notes, "inserted") == {(f"new-{name}", 0): 1 for name in names}
        assert _tally(notes, "replaced") == {(name, 1): 1 for name in names}
        for what, version in (("inserted", 1), ("replaced", 2)):
            for note in _of(notes, what):
                record = await store.must_read(note.key)
                assert (record.version, record.owner, record.body) == (version, note.racer, note.racer.encode())
        assert await store.counts_match() == {("default", "pending"): 300, ("new", "pending"): 300}

    # --- heartbeats against claims ---

    @driver_test
    async def test_heartbeats_and_claims_of_ended_leases_among_threads(self, store: StoreUnderTest) -> None:
        await self._heartbeats(store, _in_threads)

    @driver_test
    async def test_heartbeats_and_claims_of_ended_leases_among_processes(self, store: StoreUnderTest) -> None:
        self._needs_several_processes()
        await self._heartbeats(store, _in_processes)

    async def _heartbeats(self, store: StoreUnderTest, race: Race) -> None:
        """Late heartbeats and new claimers meet: each record goes to one of them, and the other one knows."""
        store.clock.now = system_clock()
        names = {f"{n:04}" for n in range(400)}
        await store.put(
            *(
                changed(store.record(name, state="running", due_in=-1), owner=f"racer-{int(name) % 2}", claims=1)
                for name in names
            )
        )

        notes = await race(self, store, _parts(self, store, ["beat", "beat", "steal", "steal"], size=400))

        extended, claimed = _tally(notes, "extended"), _tally(notes, "claimed")
        assert set(extended.values()) | set(claimed.values()) == {1}
        kept, stolen = {key for key, _ in extended}, {key for key, _ in claimed}
        assert not kept & stolen, "a lease was extended and given away"
        assert kept | stolen == names
        assert _tally(notes, "settled") == extended, "a lease that was extended was lost all the same"
        for note in _of(notes, "claimed"):
            record = await store.must_read(note.key)
            assert (record.state, record.owner, record.version, record.claims) == ("running", note.racer, 2, 2)
        for key in kept:
            record = await store.must_read(key)
            assert (record.state, record.version, record.claims) == ("done", 2, 1)
        await store.counts_match()

    # --- the event log ---

    @driver_test
    async def test_reader_of_the_log_misses_nothing_among_threads(self, store: StoreUnderTest) -> None:
        await self._report(store, _in_threads)

    @driver_test
    async def test_reader_of_the_log_misses_nothing_among_processes(self, store: StoreUnderTest) -> None:
        self._needs_several_processes()
        await self._report(store, _in_processes)

    async def _report(self, store: StoreUnderTest, race: Race) -> None:
        """Positions are in order of becoming visible: whoever reads on from one sees each event once."""
        _, position = await store.driver.log_end()
        racing = asyncio.create_task(race(self, store, _parts(self, store, ["report"] * 4, size=250)))
        read: list[TaskEvent] = []
        while True:
            over = racing.done()
            events, position = await store.driver.read_log(position, 50)
            read += events
            if over and not events:
                break
            await asyncio.sleep(0 if events else 0.001)
        await racing
        for n in range(4):
            assert [event.task_id for event in read if event.worker == f"racer-{n}"] == [f"{k}" for k in range(250)]

    # --- processes that are killed, and processes that wake others ---

    @driver_test
    async def test_killed_writers_leave_what_they_were_told_was_written(self, store: StoreUnderTest) -> None:
        self._needs_several_processes()
        store.clock.now = system_clock()
        for attempt in range(3):
            parts = _parts(self, store, ["write_until_killed"] * 2, size=40, prefix=f"killed-{attempt}-")
            await self._kill_when_noted(parts, 20 * (attempt + 1))
        noted = {note.key for note in _of(_notes(store), "wrote")}
        found = Counter(record.partition for record in await scan_all(store.driver, Filter(kind=KIND), limit=500))
        events = Counter((await store.driver.query(EventFilter()))["task_id"])
        for batch in noted:
            assert (found[batch], events[batch]) == (40, 1), "what a killed process was told was written is lost"
        if self.capabilities.atomic_batches:
            assert set(found.values()) == {40}, "a killed process left a part of a batch"
            assert events == Counter(found.keys())
        await store.counts_match()

    @driver_test
    async def test_what_killed_claimers_held_comes_back(self, store: StoreUnderTest) -> None:
        self._needs_several_processes()
        store.clock.now = system_clock()
        await store.put(*(store.record(f"{n:04}", age=1) for n in range(600)))
        await self._kill_when_noted(_parts(self, store, ["claim_until_killed"] * 2, size=0), 60)
        await _until_quiet(store)
        noted = _tally(_notes(store), "claimed")
        assert set(noted.values()) == {1}
        running = {r.key for r in await scan_all(store.driver, Filter(kind=KIND, state="running"), limit=500)}
        assert {key for key, _ in noted} <= running
        rest = await store.claim(600, lease=7200)
        assert len(rest) == 600 - len(running)
        assert await store.claim(600) == []
        store.clock.advance(3700)
        again = await store.claim(600)
        assert set(keys(again)) == running
        assert {(record.version, record.claims) for record in again} == {(3, 2)}
        assert await store.counts_match() == {("default", "running"): 600}

    @driver_test
    async def test_large_bodies_are_there_anew_after_another_process_deleted_the_records(
        self, store: StoreUnderTest
    ) -> None:
        self._needs_several_processes()
        records = [store.record(f"{n:04}", body=bytes([n]) * _LARGE) for n in range(3)]
        await store.put(*records)
        await _in_processes(self, store, _parts(self, store, ["remove"], size=len(records)))
        # Not read before: what this process remembers of them is out of date.
        await store.put(*records)
        assert await store.driver.get([(KIND, record.key) for record in records]) == records
        assert [record.body for record in await store.claim()] == [record.body for record in records]

    @driver_test
    async def test_another_process_wakes_our_watchers(self, store: StoreUnderTest) -> None:
        self._needs_several_processes()
        if not self.capabilities.pushes:
            pytest.skip("the driver does not declare pushes")
        store.clock.now = system_clock()
        with (
            store.driver.watch() as changes,
            store.driver.watch(claimable=True) as claimable,
            RacerProcesses(_parts(self, store, ["poke"], size=1500)) as processes,
        ):
            await asyncio.to_thread(processes.go)
            for _ in range(5):
                changes.clear()
                claimable.clear()
                assert await changes.wait(30)
                assert await claimable.wait(30)

    def _needs_several_processes(self) -> None:
        if not self.capabilities.shared:
            pytest.skip("the driver does not declare shared")

    async def _kill_when_noted(self, parts: Sequence[Part], enough: int) -> None:
        """Let them run until the log has so many more notes, then kill them in the middle of what they do."""
        path = Path(parts[0].log)
        before = len(Log.read(path))
        with RacerProcesses(parts) as processes:
            await asyncio.to_thread(processes.go)
            while len(Log.read(path)) < before + enough:
                assert processes.alive(), f"a racer ended by itself:\n{processes.errors()}"
                await asyncio.sleep(0.005)
            processes.kill()


# --- how a race is run ---

Race = Callable[[DriverHarness, StoreUnderTest, list[Part]], Coroutine[Any, Any, list[Note]]]


async def _until_quiet(store: StoreUnderTest) -> None:
    """Wait until a server has done what processes that are dead now had sent to it."""
    before = None
    while (counts := await store.driver.count(KIND)) != before:
        before = counts
        await asyncio.sleep(0.3)


def _parts(
    harness: DriverHarness, store: StoreUnderTest, roles: Sequence[str], *, size: int, prefix: str = "racer-"
) -> list[Part]:
    driver = harness.driver_class
    return [
        Part(
            role=role,
            name=f"{prefix}{n}",
            url=store.url,
            driver=(driver.__module__, driver.__qualname__),
            log=str(store.directory / "racers.log"),
            size=size,
        )
        for n, role in enumerate(roles)
    ]


def _notes(store: StoreUnderTest) -> list[Note]:
    return Log.read(store.directory / "racers.log")


def _of(notes: Iterable[Note], what: str) -> list[Note]:
    return [note for note in notes if note.what == what]


def _tally(notes: Iterable[Note], what: str) -> dict[tuple[str, int], int]:
    return dict(Counter((note.key, note.version) for note in _of(notes, what)))


async def _in_threads(harness: DriverHarness, store: StoreUnderTest, parts: list[Part]) -> list[Note]:
    """Each part in a thread, on a loop and with drivers of its own."""
    start = threading.Barrier(len(parts))

    async def play(part: Part) -> None:
        async with prepared(part, harness.make_driver) as racer, asyncio.timeout(harness.time_limit / 2):
            start.wait(harness.time_limit / 2)
            await ROLES[part.role](racer)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(parts)) as threads, _eager_switching():
        await asyncio.gather(*(loop.run_in_executor(threads, asyncio.run, play(part)) for part in parts))
    return _notes(store)


@contextmanager
def _eager_switching() -> Iterator[None]:
    """Let threads interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def _in_processes(harness: DriverHarness, store: StoreUnderTest, parts: list[Part]) -> list[Note]:
    """Each part in a process of its own."""
    with RacerProcesses(parts) as processes:
        await asyncio.to_thread(processes.go)
        await asyncio.to_thread(processes.wait, harness.time_limit / 2)
    return _notes(store)


class RacerProcesses:
    """Processes that play parts: started together, and gone when the block ends, or with the process that tests."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._errors = Path(parts[0].log).with_name("racers.errors")
        context = _processes()
        self._starts: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for part in parts:
            ours, theirs = context.Pipe()
            self._starts.append(ours)
            self._processes.append(
                context.Process(
                    target=play_as_a_process, args=(part, theirs, self._errors, dict(os.environ)), daemon=True
                )
            )

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def go(self) -> None:
        """Give the start once everybody's drivers are open."""
        for process, start in zip(self._processes, self._starts, strict=True):
            ready = wait([start, process.sentinel])
            assert start in ready, f"a racer could not start:\n{self.errors()}"
            start.recv()
        for start in self._starts:
            start.send("go")

    def wait(self, seconds: float) -> None:
        """Wait until all have played their parts."""
        deadline = time.monotonic() + seconds
        for process in self._processes:
            process.join(max(0.1, deadline - time.monotonic()))
            if process.exitcode is None:
                pytest.fail(f"a racer has not finished within {seconds:g} s:\n{self.errors()}")
            assert process.exitcode == 0, f"a racer failed:\n{self.errors()}"

    def alive(self) -> bool:
        """Whether all are still at it."""
        return all(process.is_alive() for process in self._processes)

    def errors(self) -> str:
        """What they printed before they failed."""
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""

    def kill(self) -> None:
        """End those that still run, without a chance to tidy up."""
        for process, start in zip(self._processes, self._starts, strict=True):
            process.kill()
            process.join()
            start.close()


@functools.cache
def _processes() -> ForkServerContext | SpawnContext:
    """How racers are started: as forks of a process that has imported the drivers, where the system can fork.

    Some stores' client libraries take seconds to import, and a suite starts a hundred racers.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    drivers = {suite.driver_class.__module__ for suite in _suites_of(DriverHarness)}
    context.set_forkserver_preload(["__main__", play_as_a_process.__module__, *sorted(drivers)])
    return context


def _suites_of(harness: Any) -> Iterator[type[DriverHarness]]:
    """Every suite that was collected, of whichever driver."""
    for suite in harness.__subclasses__():
        if hasattr(suite, "driver_class"):
            yield suite
        yield from _suites_of(suite)
