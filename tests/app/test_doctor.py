"""The command line: what a person reads who wants to know why nothing works."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from omniq.cli import main

from ..conftest import Children
from ..servers.process import free_port
from ..servers.redis import RedisServer


def test_a_healthy_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/omniq.db"
    assert main(["status", "--url", url]) == 0
    capsys.readouterr()
    assert main(["doctor", "--url", url]) == 0
    said = capsys.readouterr().out
    assert said.startswith("omniq ")
    assert f"queue        SQLite, sqlite:///{tmp_path}/omniq.db: answers in " in said
    assert "none: start one with `omniq worker`" in said


def test_a_store_that_can_not_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("OMNIQ_RESULTS", f"sqlite:///{tmp_path}/file/x.db")
    monkeypatch.setenv("OMNIQ_EVENTS", "odd://u:hunter2@h")
    assert main(["doctor", "--url", f"sqlite:///{tmp_path}/omniq.db"]) == 1
    said = capsys.readouterr().out
    assert f"results      SQLite, sqlite:///{tmp_path}/file/x.db: the store" in said
    assert "events       odd://u:***@h: no backend for" in said
    assert "hunter2" not in said


def test_a_worker_on_its_own_memory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--url", "memory://mine"]) == 2
    assert "the store memory://mine is each process's own, so no task can come" in capsys.readouterr().err


def test_a_reader_who_has_enough_gets_no_traceback(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/omniq.db"
    command = f"{sys.executable} -m omniq.cli status --url {url} | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_a_doctor_makes_no_store(scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{scheme}:///{tmp_path}/typo/store"
    assert main(["doctor", "--url", url]) == 0
    assert f"{url}: is not there yet, and is made when it is first used\n" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert main(["status", "--url", url]) == 0
    assert main(["doctor", "--url", url]) == 0
    assert f"{url}: answers in" in capsys.readouterr().out


def test_an_error_of_several_components_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--url", "odd://u:hunter2@h"]) == 1
    said = capsys.readouterr().out
    assert said.count("no backend for") == 1
    assert "\nqueue, results, events, schedules odd://u:***@h: no backend for" in said


def test_a_missing_secret_is_a_finding_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = f"redis://127.0.0.1:{free_port()}"
    assert main(["doctor", "--url", away]) == 1
    said = capsys.readouterr().out
    assert f"Redis, {away}: the store {away} can't be reached" in said
    assert f"\nsecret       the store {away} is shared, so its pickles need a secret" in said
    with RedisServer(tmp_path) as server:
        assert main(["doctor", "--url", server.url()]) == 1
    said = capsys.readouterr().out
    assert "\nschedules    Redis, " in said
    assert said.count("answers in") == 4
    assert "\nsecret       the store redis://" in said
    monkeypatch.setenv("OMNIQ_SECRET", "short")
    assert main(["doctor", "--url", "memory://"]) == 1
    said = capsys.readouterr().out
    assert "queue        Memory, memory://: answers in" in said
    assert "\nsecret       secret must be at least 16 bytes long" in said


def test_one_slash_is_too_few(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--url", "redis:/localhost"]) == 1
    assert "no backend for 'redis:/localhost': the URL must begin with one of" in capsys.readouterr().out


# --- interrupted ---


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def _url(server: socket.socket) -> str:
    return f"redis://127.0.0.1:{server.getsockname()[1]}"


def test_an_interrupt_is_no_traceback(silent_server: socket.socket, children: Children) -> None:
    child = children.python("-m", "omniq.cli", "status", "--url", _url(silent_server), OMNIQ_SECRET="x" * 32)
    connection, _ = silent_server.accept()
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130
    assert children.output_of(child) == ""
    connection.close()


def test_a_worker_told_to_stop_does_not_wait_for_stores_that_do_not_answer(
    silent_server: socket.socket, children: Children
) -> None:
    child = children.worker(_url(silent_server), OMNIQ_SECRET="x" * 32)
    connection, _ = silent_server.accept()
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0
    assert "did not answer" not in children.output_of(child), "it waited for the time-out of the connection"
    connection.close()


_BLOCKS = """
import os, signal, threading, time
from omniq import AsyncOmniQ, StoreError, task
from omniq.cli import main

@task(max_retries=0)
def block():
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()

close = AsyncOmniQ.close

async def close_badly(app):
    await close(app)
    raise StoreError(app.config.url, "it is broken")

async def send():
    async with AsyncOmniQ() as app:
        await block.enqueue()

import asyncio
asyncio.run(send())
AsyncOmniQ.close = close_badly
raise SystemExit(main(["worker", "--grace", "0"]))
"""


def test_a_worker_that_can_not_close_its_stores_leaves_its_threads_too(sqlite_url: str, children: Children) -> None:
    child = children.python("-c", _BLOCKS, OMNIQ_URL=sqlite_url)
    assert child.wait(60) == 2
    assert "omniq: the store" in children.output_of(child)
    assert "Traceback" not in children.output_of(child)
