"""SQLite's own matters: the write-ahead log that is moved beside the transactions, and additions in one statement."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from omniq.backends import sqlite_checkpoint, sqlite_writer
from omniq.backends.sqlite import SQLiteDriver
from omniq.backends.sqlite_transaction import Transaction
from omniq.backends.sqlite_writer import SQLiteWriter
from omniq.clock import system_clock
from omniq.errors import NotOpenError, StoreError, StoreIOError
from omniq.models.event import TaskEvent
from omniq.models.record import Append, EventFilter, Insert, Op, Record

LONG = 500


def _writer(driver: SQLiteDriver) -> SQLiteWriter:
    assert driver._writer is not None
    return driver._writer


async def _write(driver: SQLiteDriver, first: int, n: int) -> None:
    now = system_clock()
    for number in range(first, first + n):
        record = Record("task", f"{number:06}", "default", "pending", 0, now, None, 0, 1, now, now, None, b"body")
        assert await driver.write([Insert(record)]) == [True]


def _records_without_log(path: Path, directory: Path) -> int:
    alone = directory / "alone.db"
    # Not by this process: closing the file would drop the locks that its drivers hold on it.
    subprocess.run(["cp", str(path), str(alone)], check=True)
    connection = sqlite3.connect(alone)
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return 0
        count: int = connection.execute("SELECT count(*) FROM records").fetchone()[0]
    finally:
        connection.close()
    return count


def _times_begun_anew(log: Path) -> int:
    """What SQLite itself counts, in the log's head."""
    with log.open("rb") as file:
        return int.from_bytes(file.read(16)[12:], "big")


@pytest.fixture
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_checkpoint, "_OPERATIONS", LONG)


@pytest.mark.usefixtures("short_log")
async def test_a_long_log_is_moved_into_the_file(tmp_path: Path) -> None:
    driver = SQLiteDriver(f"sqlite:///{tmp_path}/store.db")
    await driver.open()
    try:
        await _write(driver, 0, 2)
        assert _records_without_log(driver.path, tmp_path) == 0, "it moves without need"
        await _write(driver, 2, LONG // 50)
        await _writer(driver)._log.finish()
        assert _records_without_log(driver.path, tmp_path) >= LONG // 51
    finally:
        await driver.close()


@pytest.mark.usefixtures("short_log")
async def test_the_log_begins_anew_while_others_write(tmp_path: Path) -> None:
    first, second = (SQLiteDriver(f"sqlite:///{tmp_path}/store.db") for _ in range(2))
    await first.open()
    await second.open()
    try:
        log = tmp_path / "store.db-wal"
        numbers, before = itertools.count(0, 40), _times_begun_anew(log)
        give_up_at = time.monotonic() + 60  # a busy machine may let nobody but the writers have the lock for a while
        while _times_begun_anew(log) < before + 10:
            assert time.monotonic() < give_up_at, f"the log has grown to {log.stat().st_size} bytes, and is never moved"
            number = next(numbers)
            await _write(first, number, 20)
            await _write(second, number + 20, 20)
    finally:
        await first.close()
        await second.close()


@pytest.mark.usefixtures("short_log")
async def test_a_log_that_cannot_be_moved_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: Any) -> Any:
        raise StoreIOError("sqlite:///store.db", "disk I/O error")

    driver = SQLiteDriver(f"sqlite:///{tmp_path}/store.db")
    await driver.open()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_checkpoint, "connect", refuse)
            with caplog.at_level(logging.WARNING, "omniq"):
                await _write(driver, 0, LONG // 50)
                await _writer(driver)._log.finish()
        (line,) = [record.getMessage() for record in caplog.records]
        assert "a later attempt will" in line
        await _write(driver, 1000, LONG // 50)
        await _writer(driver)._log.finish()
        assert _records_without_log(driver.path, tmp_path) > LONG // 50
    finally:
        await driver.close()


async def test_an_interrupt_inside_a_transaction_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    async with SQLiteDriver(f"sqlite:///{tmp_path}/store.db") as driver:
        monkeypatch.setattr(Transaction, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            await _write(driver, 0, 1)
        other = sqlite3.connect(driver.path, timeout=0)
        other.execute("BEGIN IMMEDIATE")
        other.close()
        await _write(driver, 0, 1)


async def test_an_interrupt_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    now = system_clock()
    async with SQLiteDriver(f"sqlite:///{tmp_path}/store.db") as driver:
        waiting = [
            _writer(driver).submit(
                [Insert(Record("task", key, "q", "pending", 0, now, None, 0, 1, now, now, None, b""))]
            )
            for key in ("a", "b")
        ]
        monkeypatch.setattr(Transaction, "finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _writer(driver)._flush()
        for each in waiting:
            with pytest.raises(asyncio.CancelledError):
                await each
        await _write(driver, 0, 1)


async def test_who_calls_while_it_opens_is_told_so(tmp_path: Path) -> None:
    driver = SQLiteDriver(f"sqlite:///{tmp_path}/store.db")
    opening = asyncio.create_task(driver.open())
    refused = 0
    async with asyncio.timeout(10):
        while not opening.done():
            await asyncio.sleep(0)
            try:
                await _write(driver, 0, 1)
            except NotOpenError:
                refused += 1
            else:
                break
        await opening
        assert refused
        await _write(driver, 1, 1)
        await driver.close()


async def test_a_commit_that_cannot_even_begin_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("no thread can be started")

    async with SQLiteDriver(f"sqlite:///{tmp_path}/store.db") as driver:
        monkeypatch.setattr(_writer(driver), "_commit_inline", lambda _: None)
        monkeypatch.setattr(_writer(driver), "run", fail)
        with pytest.raises(RuntimeError, match="no thread"):
            async with asyncio.timeout(10):
                await _write(driver, 0, 1)
        monkeypatch.undo()
        await _write(driver, 0, 1)


def _addition(key: str, now: int, due_at: int | None) -> list[Op]:
    record = Record("task", key, "q", "pending", -3, due_at, None, 0, 1, now, now + 1, now + 2, b"body")
    return [Insert(record), Append((TaskEvent(now, "task.enqueued", key, "f", "q"),), 0)]


def _tables(path: Path) -> list[list[tuple[Any, ...]]]:
    connection = sqlite3.connect(path)
    try:
        orders = ("records ORDER BY kind, key", "counters ORDER BY kind, partition, state", "events ORDER BY first")
        return [connection.execute(f"SELECT * FROM {order}").fetchall() for order in orders]
    finally:
        connection.close()


async def test_an_addition_in_one_statement_leaves_what_the_steps_of_a_transaction_leave(tmp_path: Path) -> None:
    now = system_clock()
    additions = [_addition("a", now, now), _addition("b", now, None), _addition("c", now, now + 3_600_000_000)]
    at_once, in_steps = (SQLiteDriver(f"sqlite:///{tmp_path}/{name}.db") for name in ("at-once", "in-steps"))
    async with at_once, in_steps:
        for addition in additions:
            assert _writer(at_once)._add(addition) == [[True, True]]
            assert await _writer(in_steps).submit(addition) == [True, True]
    tables = _tables(at_once.path)
    assert tables == _tables(in_steps.path)
    assert [len(rows) for rows in tables] == [3, 1, 3]


async def test_what_is_no_free_addition_goes_the_usual_way(tmp_path: Path) -> None:
    now = system_clock()
    async with SQLiteDriver(f"sqlite:///{tmp_path}/store.db") as driver:
        insert, append = _addition("a", now, now)
        assert isinstance(append, Append)
        assert await driver.write([insert, append]) == [True, True]
        before = _tables(driver.path)
        for other in ([insert, append], [insert], [append, insert], [insert, Append((), 0)], [insert, insert]):
            assert _writer(driver)._add(other) is None
            assert _tables(driver.path) == before
        assert await driver.write([insert, append]) == [False, False]
        assert await driver.write([insert, Append(append.events)]) == [False, True]
        assert len((await driver.query(EventFilter()))["task_id"]) == 2


async def test_what_takes_long_is_left_to_the_writers_thread(tmp_path: Path) -> None:
    now = system_clock()
    async with SQLiteDriver(f"sqlite:///{tmp_path}/store.db") as driver:
        writer = _writer(driver)
        insert, append = _addition("large", now, now)
        assert isinstance(insert, Insert)
        insert.record.body = bytes(600_000)
        assert writer._add([insert, append]) is None
        assert writer._commit_inline([[insert, append]]) is None
        many = [_addition(f"{number}", now, now) for number in range(200)]
        assert writer._commit_inline([*many]) is None
        assert writer._commit_inline([*many[:100]]) == [[True, True]] * 100
        assert await driver.write([insert, append]) == [True, True]
        assert len(_tables(driver.path)[0]) == 101


async def test_an_addition_waits_for_who_has_the_lock(tmp_path: Path) -> None:
    now = system_clock()
    async with SQLiteDriver(f"sqlite:///{tmp_path}/store.db") as driver:
        other = sqlite3.connect(driver.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.create_task(driver.write(_addition("a", now, now)))
        await asyncio.sleep(0.05)
        assert not adding.done()
        other.execute("COMMIT")
        other.close()
        assert await adding == [True, True]
        assert [len(rows) for rows in _tables(driver.path)] == [1, 1, 1]


async def test_closing_does_not_wait_long_for_a_lock_that_others_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_LAST_SECONDS", 0.1)
    driver = SQLiteDriver(f"sqlite:///{tmp_path}/store.db")
    await driver.open()
    other = sqlite3.connect(driver.path, isolation_level=None, timeout=0)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(_write(driver, 0, 1))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):  # half of what a caller waits
        await driver.close()
    with pytest.raises(StoreError, match="held by another process"):
        await writing
    other.close()
