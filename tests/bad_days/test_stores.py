"""A store that can't be used says so in one line: what is wrong, and what to do. What it accepted stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, ConfigError, OmniQError, StoreError
from omniq.backends.sqlite_schema import SCHEMA_VERSION
from omniq.errors import (
    StoreCorruptError,
    StoreFullError,
    StoreTooNewError,
    StoreUnavailableError,
    ValueTooLargeError,
)

SECRET = "a secret of enough bytes"


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def path(sqlite_url: str) -> Path:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _assert_helpful(error: StoreError, *words: str) -> None:
    message = str(error)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert isinstance(error.__cause__, sqlite3.Error | OSError) or error.__cause__ is None


async def _refusal(url: str, expected: type[StoreError]) -> StoreError:
    app = AsyncOmniQ(url, secret=SECRET)
    with pytest.raises(expected) as refusal:
        await app.open()
    assert not app.is_open
    await app.close()
    return refusal.value


# --- a file that is no store ---


async def test_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path, sqlite_url: str) -> None:
    path.write_bytes(b"my precious notes, and nothing else\n" * 100)
    before = path.read_bytes()
    error = await _refusal(sqlite_url, StoreCorruptError)
    _assert_helpful(error, str(path), "is damaged or is not an OmniQ store", "move the file away")
    assert isinstance(error.__cause__, sqlite3.DatabaseError)
    assert path.read_bytes() == before


async def test_other_program_s_database_is_refused_and_left_as_it_is(path: Path, sqlite_url: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE precious (n)")
        other.execute("INSERT INTO precious VALUES (42)")
        other.commit()
    before = path.read_bytes()
    _assert_helpful(await _refusal(sqlite_url, StoreCorruptError), "some other program's SQLite file")
    assert path.read_bytes() == before


async def test_store_of_a_newer_version_is_refused_and_left_as_it_is(path: Path, sqlite_url: str) -> None:
    async with AsyncOmniQ(sqlite_url, secret=SECRET) as app:
        handle = await app.enqueue("f")
    with closing(sqlite3.connect(path)) as future:
        future.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    _assert_helpful(await _refusal(sqlite_url, StoreTooNewError), "newer version of OmniQ", "pip install -U omniq-nb")
    with closing(sqlite3.connect(path)) as back:
        back.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    async with AsyncOmniQ(sqlite_url, secret=SECRET) as app:
        assert (await handle.__class__(app, handle.id).task()).func == "f"


async def test_half_a_file_is_refused(path: Path, sqlite_url: str) -> None:
    async with AsyncOmniQ(sqlite_url, secret=SECRET) as app:
        for n in range(200):
            await app.enqueue("f", args=("x" * 500, n))
    content = path.read_bytes()
    assert len(content) > 50_000, "closing moves the log into the file"
    path.write_bytes(content[:1024] + b"\xff" * 30_000 + content[31_024:])
    error = await _refusal_or_failing_use(sqlite_url)
    _assert_helpful(error, "is damaged", "recover")


async def _refusal_or_failing_use(url: str) -> StoreError:
    """Damage in the middle shows only when the damaged page is read."""
    app = AsyncOmniQ(url, secret=SECRET)
    try:
        await app.open()
        await app.enqueue("f")
        await app.list_tasks(limit=1000)
        await app.events()
    except StoreCorruptError as error:
        return error
    finally:
        await app.close()
    pytest.fail("damage went unnoticed")


async def test_store_that_breaks_while_it_is_open_is_one_clear_error(app: AsyncOmniQ, path: Path) -> None:
    waiting = asyncio.ensure_future((await app.enqueue("f", delay=3600)).wait())
    await app.list_tasks()
    for name in (path, path.with_name(path.name + "-wal")):
        with name.open("r+b") as file:
            file.write(os.urandom(name.stat().st_size))
    with pytest.raises(StoreError) as refusal:
        for _ in range(50):
            await app.enqueue("f")
            await app.list_tasks()
    _assert_helpful(refusal.value, str(path))
    # It can be closed all the same, and leaves nobody waiting.
    await app.close()
    with pytest.raises(OmniQError):
        await waiting


async def test_directory_in_the_place_of_the_file_is_refused(path: Path, sqlite_url: str) -> None:
    path.mkdir()
    _assert_helpful(await _refusal(sqlite_url, StoreUnavailableError), str(path), "can't be opened")


async def test_file_in_the_place_of_the_directory_is_refused(path: Path) -> None:
    path.write_text("a file")
    _assert_helpful(await _refusal(f"sqlite:///{path}/omniq.db", StoreUnavailableError), str(path), "can't create")


async def test_sqlite_s_own_name_for_memory_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match="memory://"):
        await AsyncOmniQ("sqlite:///:memory:").open()


# --- nothing may be written ---

_OPEN = """
import asyncio, sys
from omniq import AsyncOmniQ, OmniQError

async def main(url, secret):
    try:
        async with AsyncOmniQ(url, secret=secret or None) as app:
            await app.enqueue("f")
    except OmniQError as error:
        print(type(error).__name__, "|", error)
    else:
        print("written")

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def _open_without_power(children: Any, url: str, secret: str = SECRET) -> str:
    return children.finish(children.python("-c", _OPEN, url, secret, bound=True)).strip()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "directory"
    directory.mkdir()
    yield directory
    directory.chmod(0o755)


@pytest.mark.parametrize("secret", [SECRET, ""])
def test_new_store_in_a_read_only_directory_is_refused(children: Any, directory: Path, secret: str) -> None:
    directory.chmod(0o555)
    refusal = r"StoreReadOnlyError \| the store .* is read-only \(.*\): make the file and its directory writable.*"
    assert re.fullmatch(refusal, _open_without_power(children, f"sqlite:///{directory}/sub/omniq.db", secret))
    assert re.fullmatch(refusal, _open_without_power(children, f"sqlite:///{directory}/omniq.db", secret))


async def test_existing_store_that_may_only_be_read_is_refused(children: Any, directory: Path) -> None:
    url, file = f"sqlite:///{directory}/omniq.db", directory / "omniq.db"
    async with AsyncOmniQ(url, secret=SECRET) as app:
        handle = await app.enqueue("f")
    file.chmod(0o444)
    directory.chmod(0o555)
    said = _open_without_power(children, url)
    assert re.fullmatch(
        r"StoreReadOnlyError \| the store .* is read-only \(.*\): make the file and its directory.*", said
    )
    file.chmod(0o644)
    directory.chmod(0o755)
    assert _open_without_power(children, url) == "written"
    async with AsyncOmniQ(url, secret=SECRET) as app:
        assert (await app.get_task(handle.id)).func == "f"


async def test_store_that_turns_read_only_is_refused_and_its_tasks_stay(children: Any, directory: Path) -> None:
    url, file = f"sqlite:///{directory}/omniq.db", directory / "omniq.db"
    async with AsyncOmniQ(url, secret=SECRET) as app:
        await app.enqueue("f")
        # The log and its index are there, as another process that has the store open leaves them.
        for each in directory.glob("omniq.db*"):
            if each.is_file():
                each.chmod(0o444)
        said = _open_without_power(children, url)
        assert re.fullmatch(
            r"StoreReadOnlyError \| the store .* is read-only \(.*\): make the file and its directory.*", said
        )
        assert (await app.stats()).totals == {"pending": 1}
    assert file.exists()


# --- a full disk ---


def _fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


async def test_full_disk_is_one_clear_error_and_nothing_accepted_is_lost(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/omniq.db"
    accepted = []
    async with AsyncOmniQ(url, secret=SECRET) as app:
        accepted.append((await app.enqueue("f", args=(bytes(1000),))).id)
        filler = _fill(small_disk)
        with pytest.raises(StoreFullError) as refusal:
            for _ in range(10_000):
                accepted.append((await app.enqueue("f", args=(os.urandom(2000),))).id)
        _assert_helpful(refusal.value, "its disk is full", "free some space")
        with pytest.raises(StoreFullError):
            await app.enqueue("f", args=(os.urandom(200_000),))
        # Reading goes on, and so does writing when there is room again, without a new start.
        assert {task.id for task in (await app.list_tasks(limit=10_000)).tasks} == set(accepted)
        filler.unlink()
        accepted.append((await app.enqueue("f", args=(os.urandom(2000),))).id)
    async with AsyncOmniQ(url, secret=SECRET) as app:
        assert {task.id for task in (await app.list_tasks(limit=10_000)).tasks} == set(accepted)


async def test_app_on_a_full_disk_can_be_closed(small_disk: Path) -> None:
    app = AsyncOmniQ(f"sqlite:///{small_disk}/omniq.db", secret=SECRET)
    await app.enqueue("f")
    _fill(small_disk)
    with pytest.raises(StoreFullError):
        for _ in range(10_000):
            await app.enqueue("f", args=(os.urandom(2000),))
    await app.close()


async def test_new_store_on_a_full_disk_is_refused(small_disk: Path) -> None:
    _fill(small_disk)
    error = await _refusal(f"sqlite:///{small_disk}/omniq.db", StoreError)
    _assert_helpful(error)
    error = await _refusal(f"sqlite:///{small_disk}/sub/omniq.db", StoreError)
    _assert_helpful(error)
    with pytest.raises(StoreFullError):
        await AsyncOmniQ(f"sqlite:///{small_disk}/omniq.db").open()  # no room for the secret either


_may_end: list[threading.Event] = []


def give(n: int) -> bytes:
    assert _may_end[-1].wait(60)
    return bytes([n]) * 900_000


async def test_outcomes_wait_until_a_full_disk_has_room(small_disk: Path, until: Any, caplog: Any) -> None:
    _may_end.append(threading.Event())
    async with AsyncOmniQ(f"sqlite:///{small_disk}/omniq.db", secret=SECRET) as app:
        group = await app.task(give).map([1, 2])
        async with app.workers() as pool:
            await until(lambda: len(pool._running) == 2)
            filler = _fill(small_disk)
            _may_end[-1].set()
            said = r"can't write what came of tasks and tries until it can: .*its disk is full"
            await until(lambda: re.search(said, caplog.text))
            filler.unlink()
            assert await group.results(timeout=60) == [b"\1" * 900_000, b"\2" * 900_000]
        assert [(await handle.task()).attempt for handle in group] == [1, 1]


_GROW = """
import asyncio, resource, signal, sys
from omniq import AsyncOmniQ, StoreError

async def main(url):
    app = AsyncOmniQ(url, secret="a secret of enough bytes")
    accepted = 0
    try:
        async with app:
            for n in range(10_000):
                await app.enqueue("f", args=(n, bytes(range(256)) * 8))
                accepted += 1
    except StoreError as error:
        print(accepted, "|", type(error).__name__, "|", error)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
asyncio.run(main(sys.argv[1]))
"""


async def test_file_that_may_not_grow_is_one_clear_error_and_nothing_accepted_is_lost(
    children: Any, sqlite_url: str
) -> None:
    said = children.finish(children.python("-c", _GROW, sqlite_url)).strip()
    accepted, kind, message = said.splitlines()[-1].split(" | ")
    assert kind in {"StoreFullError", "StoreIOError"}
    assert "full" in message
    async with AsyncOmniQ(sqlite_url, secret=SECRET) as app:
        assert (await app.stats()).totals == {"pending": int(accepted)}


# --- a value that is too large ---


async def test_value_that_is_too_large_for_the_store_is_refused_and_the_next_one_is_not(app: AsyncOmniQ) -> None:
    driver: Any = app._parts.queue.driver  # type: ignore[union-attr]
    limit = (sqlite3.SQLITE_LIMIT_LENGTH, 50_000)
    driver._writer.here.setlimit(*limit)
    await driver._writer.run(sqlite3.Connection.setlimit, *limit)
    with pytest.raises(ValueTooLargeError, match="can't hold a value this large.*pass the path"):
        await app.enqueue("f", args=(bytes(60_000),))
    handle = await app.enqueue("f", args=(bytes(100),))
    assert (await app.stats()).totals == {"pending": 1}
    await handle.cancel()
