"""The command line: what a person reads who wants to know why nothing works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from omniq.cli import main

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
