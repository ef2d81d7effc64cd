"""Files and buckets: killed and suspended processes, full disks, meddled-with objects, servers that hang up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from omniq import AsyncOmniQ, StoreError, TaskFailed
from omniq.backends import objects_upkeep
from omniq.backends.files import FileDriver, Files
from omniq.backends.s3 import S3Driver
from omniq.clock import SECOND, system_clock
from omniq.errors import (
    StoreCorruptError,
    StoreDeniedError,
    StoreFullError,
    StoreTooNewError,
    StoreTooOldError,
    StoreUnavailableError,
)
from omniq.models.record import Delete, EventFilter, Insert, Record, Replace

from tests.servers import raw_files
from tests.servers.process import free_port
from tests.servers.raw_objects import commit_name
from tests.servers.s3 import S3Server

SECRET = "a secret of enough bytes"
SUPPORT = Path(__file__).parent / "support"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"file:///{tmp_path}/store"


@pytest.fixture
def store_url(file_url: str) -> str:
    return file_url


def _record(key: str, body: bytes = b"body", *, now: int | None = None) -> Record:
    now = system_clock() if now is None else now
    return Record("task", key, "default", "pending", 0, now, None, 0, 1, now, now, None, body)


def _assert_helpful(error: StoreError, *words: str) -> None:
    assert "\n" not in str(error)
    for word in words:
        assert word in str(error)


# --- killed processes ---


async def test_tasks_outlive_workers_that_are_killed(
    app: AsyncOmniQ, file_url: str, children: Any, notes: Any, until: Any
) -> None:
    def start(*arguments: str) -> subprocess.Popen[str]:
        return children.worker(
            file_url, "--import", "chores", "--lease", "1", *arguments, cwd=SUPPORT, OMNIQ_POLL_INTERVAL="0.2",
            OMNIQ_RETRY_DELAY="0",
        )  # fmt: skip

    handles = [await app.enqueue("step", args=(str(notes.path), n, 0.02)) for n in range(600)]
    for share in (0.2, 0.4, 0.6):
        workers = start("--concurrency", "20"), start("--concurrency", "20", "--type", "thread")
        await until(lambda share=share: len(notes.read()) >= share * len(handles))
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
    children.finish(start("--concurrency", "20", "--drain"))
    began = [n for n, _ in notes.read()]
    assert len(began) > len(handles), "no worker was killed in the middle of a task"
    rows = raw_files.raw_store(file_url).rows
    tasks = {key: row for (kind, key), row in rows.items() if kind == "task"}
    assert set(tasks) == {handle.id for handle in handles}
    assert {row[3] for row in tasks.values()} == {"succeeded"}
    completions = (await app.events(types="task.succeeded"))["task_id"].to_list()
    assert Counter(completions) == Counter(list(tasks)), "a completion was accepted twice, or none"
    assert await app.group(handles) == list(range(len(handles)))


async def test_what_a_killed_process_left_unfinished_is_ignored_and_cleared_up(file_url: str) -> None:
    async with FileDriver(file_url) as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]
    unfinished = raw_files.root_of(file_url) / "unfinished"
    old, young = unfinished / "1-old-0", unfinished / "2-young-0"
    for torn in (old, young):
        torn.write_bytes(b"OMNQ\x01torn")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    async with FileDriver(file_url) as driver:
        assert await driver.count("task") == {("default", "pending"): 1}
        assert await driver.write([Insert(_record("b"))]) == [True]
    assert [path.name for path in unfinished.iterdir()] == [young.name], "its writer may still be at it"


# --- suspended processes ---


def _as_another_process(url: str) -> str:
    """The same store by another name, so that nothing in memory is shared."""
    path = Path(url.removeprefix("file:///"))
    return f"file:///{path.parent}/./{path.name}"


@pytest.fixture
def quick_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_upkeep, "COMMITS_PER_CHECKPOINT", 4)
    monkeypatch.setattr(Files, "grace", 0.3)


async def _go_on_until_deleted(driver: FileDriver, url: str, position: int) -> None:
    """Commit until the commit after this position is deleted."""
    n = 0
    while (raw_files.root_of(url) / commit_name(position + 1)).exists() or n < 20:
        assert await driver.write([Insert(_record(f"{position}-{n:04}"))]) == [True]
        n += 1
        await asyncio.sleep(0.05)


@pytest.mark.usefixtures("quick_deletion")
async def test_process_that_was_suspended_finds_its_way_back_in(file_url: str) -> None:
    async with FileDriver(file_url) as first, FileDriver(_as_another_process(file_url)) as other:
        assert await first.write([Insert(_record("a"))]) == [True]
        (held,) = await first.claim("task", None, "suspended", 1, SECOND)
        position = raw_files.raw_store(file_url).last
        there = (await other.get([("task", "a")]))[0]
        assert there is not None
        assert await other.write([Replace(replace(there, state="cancelled", due_at=None), there)]) == [True]
        await _go_on_until_deleted(other, file_url, position)
        # The commits that it has not read are gone, and the name that it would write next is free.
        assert await first.write([Replace(replace(held, state="succeeded", due_at=None), held)]) == [False]
        (read,) = await first.get([("task", "a")])
        assert read is not None
        assert read.state == "cancelled"
        assert await first.count("task") == await other.count("task")


@pytest.mark.usefixtures("quick_deletion")
async def test_process_that_is_suspended_between_looking_and_writing_changes_nothing(
    file_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FileDriver(file_url) as first, FileDriver(_as_another_process(file_url)) as other:
        assert await first.write([Insert(_record("a"))]) == [True]
        (held,) = await first.claim("task", None, "suspended", 1, 3600 * SECOND)
        position = raw_files.raw_store(file_url).last
        store: Any = first._store
        create = store.create

        async def suspended(name: str, data: bytes) -> bool:
            monkeypatch.setattr(store, "create", create)
            store.end_turn()
            await _go_on_until_deleted(other, file_url, position)
            assert name == commit_name(position + 1)
            created: bool = await create(name, data)
            assert created, "the name was not free: this test proves nothing"
            return created

        monkeypatch.setattr(store, "create", suspended)
        with pytest.raises(StoreUnavailableError, match="out of touch") as caught:
            await first.write([Replace(replace(held, state="succeeded", due_at=None), held)])
        assert caught.value.sent
        for driver in (first, other):
            (read,) = await driver.get([("task", "a")])
            assert read == held, "a write that nobody else saw counts"
        assert await first.write([Replace(replace(held, state="succeeded", due_at=None), held)]) == [True]
        (read,) = await other.get([("task", "a")])
        assert read is not None
        assert read.state == "succeeded"


# --- clocks that differ ---


async def test_clock_that_is_ahead_takes_leases_early_and_no_completion_counts_twice(file_url: str) -> None:
    def ahead() -> int:
        return system_clock() + 90 * SECOND

    async with FileDriver(file_url) as driver, FileDriver(_as_another_process(file_url), clock=ahead) as fast:
        assert await driver.write([Insert(_record("a"))]) == [True]
        (held,) = await driver.claim("task", None, "right", 1, 30 * SECOND)
        (stolen,) = await fast.claim("task", None, "fast", 1, 30 * SECOND)
        assert (stolen.version, stolen.claims) == (3, 2)
        # For the others its lease is 90 seconds longer, and not for ever.
        assert await driver.claim("task", None, "right", 1, 30 * SECOND) == []
        due = await driver.next_due("task")
        assert due is not None
        assert due - system_clock() <= 120 * SECOND
        settled = [await each.write([Replace(replace(r, state="done", due_at=None), r)]) for each, r in
                   ((driver, held), (fast, stolen))]  # fmt: skip
        assert settled == [[False], [True]]


# --- meddled-with objects ---


async def test_body_that_was_deleted_by_hand(app: AsyncOmniQ, file_url: str) -> None:
    @app.task(max_retries=0)
    async def length(text: str) -> int:
        return len(text)

    broken, whole = await length.enqueue("x" * 5000), await length.enqueue("y" * 6000)
    rows = raw_files.raw_store(file_url).rows
    blob = rows["task", broken.id][-1]
    (raw_files.root_of(file_url) / blob).unlink()
    with pytest.raises(StoreCorruptError) as caught:
        await app.get_task(broken.id)
    _assert_helpful(caught.value, f"the object {blob} is missing", broken.id)
    async with app.workers():
        assert await whole == 6000
        with pytest.raises(TaskFailed):
            await broken


@pytest.mark.parametrize("how", ["changed", "cut short", "foreign"])
async def test_commit_that_was_changed_by_hand(file_url: str, how: str) -> None:
    async with FileDriver(file_url) as driver:
        for n in range(5):
            await driver.write([Insert(_record(f"{n}"))])
    path = raw_files.root_of(file_url) / commit_name(3)
    data = path.read_bytes()
    path.write_bytes({"changed": data[:-1] + b"!", "cut short": data[:-9], "foreign": b"my notes"}[how])
    with pytest.raises(StoreCorruptError) as caught:
        await FileDriver(file_url).open()
    _assert_helpful(caught.value, commit_name(3))


async def test_commit_that_was_deleted_by_hand_is_missed(file_url: str) -> None:
    async with FileDriver(file_url) as driver:
        for n in range(5):
            await driver.write([Insert(_record(f"{n}"))])
    (raw_files.root_of(file_url) / commit_name(3)).unlink()
    with pytest.raises(StoreCorruptError, match="missing"):
        await FileDriver(file_url).open()


async def test_other_program_s_place_and_newer_store_are_refused(file_url: str) -> None:
    async with FileDriver(file_url):
        pass
    marker = raw_files.root_of(file_url) / "format"
    marker.write_text("my precious notes")
    with pytest.raises(StoreCorruptError, match="some other program's"):
        await FileDriver(file_url).open()
    marker.write_text("OmniQ 99\n")
    with pytest.raises(StoreTooNewError, match="its format is 99"):
        await FileDriver(file_url).open()


# --- disks ---


async def test_full_disk_is_one_clear_error_and_nothing_accepted_is_lost(small_disk: Path) -> None:
    url = f"file:///{small_disk}/store"
    accepted: list[str] = []
    async with AsyncOmniQ(url, secret=SECRET) as app:
        accepted.append((await app.enqueue("f", args=(bytes(1000),))).id)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(StoreFullError) as refusal:
            for size in (500, 5000) * 2000:
                accepted.append((await app.enqueue("f", args=(os.urandom(size),))).id)
        _assert_helpful(refusal.value, "its disk is full", "free some space")
        assert {task.id for task in (await app.list_tasks(limit=10_000)).tasks} == set(accepted)
        filler.unlink()
        accepted.append((await app.enqueue("f", args=(os.urandom(500),))).id)
    assert not list((small_disk / "store" / "omniq" / "unfinished").iterdir()), "half a file was left"
    async with AsyncOmniQ(url, secret=SECRET) as app:
        assert {task.id for task in (await app.list_tasks(limit=10_000)).tasks} == set(accepted)


_OPEN = """
import asyncio, sys
from omniq import AsyncOmniQ, StoreError

async def main(url):
    try:
        async with AsyncOmniQ(url, secret="a secret of enough bytes") as app:
            await app.enqueue("f")
            print("written")
    except StoreError as error:
        print(type(error).__name__, "|", error)

asyncio.run(main(sys.argv[1]))
"""


async def test_read_only_directory_is_refused(tmp_path: Path, children: Any) -> None:
    directory = tmp_path / "directory"
    url = f"file:///{directory}/store"
    refusal = r"StoreReadOnlyError \| the store .* is read-only \(.*\): make the file and its directory writable.*"
    async with AsyncOmniQ(url, secret=SECRET) as app:
        handle = await app.enqueue("f")
    folders = [directory, *(path for path in directory.rglob("*") if path.is_dir())]
    try:
        for folder in folders:
            folder.chmod(0o555)
        for each in (url, f"file:///{directory}/new"):
            said = children.finish(children.python("-c", _OPEN, each, bound=True)).strip()
            assert re.fullmatch(refusal, said), said
    finally:
        for folder in folders:
            folder.chmod(0o755)
    async with AsyncOmniQ(url, secret=SECRET) as app:
        assert (await app.get_task(handle.id)).func == "f"


# --- servers that refuse, and answers that don't arrive ---


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_url(server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    for name, value in server.environment_of_clients.items():
        monkeypatch.setenv(name, value)
    yield f"s3://{server.bucket}/bad-days/{abs(hash(request.node.name))}"
    server.go_wrong()


_ON_THE_LOG = "PUT /tests/bad-days"


async def test_server_that_ignores_conditions_is_refused(server: S3Server, s3_url: str) -> None:
    server.go_wrong(*["unconditional"] * 50)
    with pytest.raises(StoreTooOldError, match="ignores the condition"):
        await S3Driver(f"{s3_url}-anew").open()


async def test_claim_whose_answer_was_lost_is_the_claimer_s(server: S3Server, s3_url: str) -> None:
    async with S3Driver(s3_url) as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]
        server.go_wrong("late", matching=_ON_THE_LOG)
        (held,) = await driver.claim("task", None, "w", 1, 30 * SECOND)
        assert (held.version, held.claims, held.owner) == (2, 1, "w")
        assert await driver.write([Delete(held)]) == [True]


async def test_reads_go_on_when_the_server_is_overloaded_for_a_moment(server: S3Server, s3_url: str) -> None:
    async with S3Driver(s3_url) as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]
        for faults in (["503"], ["late", "503"]):
            server.go_wrong(*faults, matching="GET /tests/bad-days")
            assert await driver.count("task") == {("default", "pending"): 1}
            assert (await driver.query(EventFilter()))["ts"] == []


async def test_wrong_credentials_are_one_clear_error(server: S3Server, s3_url: str) -> None:
    server.go_wrong(*["403"] * 50)
    with pytest.raises(StoreDeniedError) as caught:
        await S3Driver(s3_url).open()
    _assert_helpful(caught.value, "refuses this user", "AccessDenied")
    assert caught.value.__cause__ is not None


async def test_no_credentials_are_one_clear_error(s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreDeniedError) as caught:
        await S3Driver(s3_url).open()
    _assert_helpful(caught.value, "credentials")


async def test_missing_bucket_is_created_only_if_that_is_asked_for(s3_url: str) -> None:
    url = "s3://there-is-none-yet/store"
    with pytest.raises(StoreUnavailableError) as caught:
        await S3Driver(url).open()
    _assert_helpful(caught.value, "there is no bucket 'there-is-none-yet'", "?create=true")
    async with S3Driver(f"{url}?create=true") as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]
    async with S3Driver(url) as driver:
        assert await driver.count("task") == {("default", "pending"): 1}


async def test_server_that_is_not_there_is_one_clear_error(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailableError) as caught:
        await S3Driver(s3_url).open()
    _assert_helpful(caught.value, "can't be reached")


async def test_server_s_clock_counts_where_the_machine_s_is_wrong(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    right = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right() - 90 * 1_000_000_000)
    async with S3Driver(s3_url) as driver:
        assert abs(driver.clock() - right() // 1000) < 2 * SECOND
        assert driver.clone().clock is driver.clock
    # To the second, and the machine may be busy between the two looks.
    assert re.search(r"[89]\d s off the store's", caplog.text)


async def test_machine_s_clock_that_is_set_meanwhile_takes_no_task_from_its_worker(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong_by = time.time_ns, [-3600]
    monkeypatch.setattr(time, "time_ns", lambda: right() + wrong_by[0] * 1_000_000_000)

    def off(moment: int | None) -> float:
        assert moment is not None
        return abs(moment - right() // 1000) / SECOND

    async with S3Driver(s3_url) as driver, S3Driver(f"{s3_url}/") as other:
        for seconds in (-3600, 0, 3600, -90, 0):
            wrong_by[0] = seconds
            assert off(driver.clock()) < 10, "at once, though nobody has asked the store yet"
            assert await driver.write([Insert(_record(f"{seconds}", now=0))]) == [True]
            (held,) = await driver.claim("task", None, "worker", 1, 60 * SECOND)
            assert off(held.due_at) < 70
            assert await other.claim("task", None, "other", 1, 60 * SECOND) == []
            assert await driver.write([Delete(held)]) == [True]
            assert off(other.clock()) < 10
