"""The command line: what a person reads who wants to know why nothing works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from omniq.cli import main


def test_a_healthy_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--url", f"sqlite:///{tmp_path}/omniq.db"]) == 0
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
