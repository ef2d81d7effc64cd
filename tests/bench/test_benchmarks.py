"""The benchmarks run, at a few thousandths of their size and for OmniQ alone. Nothing depends on how fast it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SCENARIOS = ("drain", "enqueue", "latency", "kernel", "backlog", "durability", "memory", "import", "dashboard")
# They differ from those on SQLite by the store alone: one on each shows that it is there and keeps what it is given.
ON_OTHER_STORES = ("drain-redis", "backlog-postgres", "latency-nats", "latency-files")
# "page" is left to `make bench`: three starts of JupyterLab take a minute, and tests/browser/test_flood.py drives and
# measures the page by the same means.
EXACT = ("lost", "duplicates", "unsettled")


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs the command and gives what it printed."""

    def run(*arguments: str, status: int = 0) -> str:
        command = [sys.executable, str(HERE / "run.py"), "--out", str(tmp_path / "out"), *arguments]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ), check=False
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    return run


def results(directory: Path, scenario: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "out" / f"{scenario}.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", [*SCENARIOS, *ON_OTHER_STORES])
def test_a_scenario_gives_its_figures_and_no_task_is_lost_or_runs_twice(
    run: Any, tmp_path: Path, scenario: str
) -> None:
    run("--only", scenario, "--scale", "0.003", "--rounds", "1", "--against", "none")

    found = results(tmp_path, scenario)
    assert found["failed"] == {}
    (measured,) = found["rounds"]
    ours = {name for name in found["about"] if name.startswith("omniq")}
    assert ours
    assert measured.keys() == ours
    for figures in measured.values():
        assert figures
        numbers = {key: value for key, value in figures.items() if isinstance(value, int | float)}
        assert {key: numbers[key] for key in EXACT if key in numbers} == {key: 0 for key in EXACT if key in numbers}
        assert all(value >= 0 for key, value in numbers.items() if key != "growth")
    table = (tmp_path / "out" / "table.md").read_text()
    assert all(f"| {name} |" in table for name in ours)
    assert [each for each in (tmp_path / "out").iterdir() if each.is_dir()] == [], "the scratch directory is gone"


def test_a_peer_that_is_not_installed_is_named(run: Any, tmp_path: Path) -> None:
    bare = program(tmp_path / "bare", f'exec "{sys.executable}" -S "$@"')
    broken = program(tmp_path / "broken", "echo this one is broken >&2; exit 1")
    pythons = ("--peer-python", bare, "--peer-python", f"flexiq={broken}")

    said = run("--only", "enqueue", "--scale", "0", "--rounds", "1", "--against", "huey,flexiq", *pythons)

    assert "| huey | not installed: huey |" in said
    assert "| flexiq | can't be loaded: this one is broken |" in said
    assert "| litequeue | left out of this run |" in said


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_scenario_that_is_run_again_leaves_the_others_in_the_table(run: Any) -> None:
    run("--only", "import", "--scale", "0", "--rounds", "1", "--against", "none")
    said = run("--only", "enqueue", "--scale", "0", "--rounds", "2", "--against", "none")

    assert "## Import" in said
    assert "## SQLite, enqueue" in said
    assert "Rounds: 2;" in said


def test_an_unknown_scenario_or_peer_is_refused(run: Any) -> None:
    assert "there are drain," in run("--only", "dran", status=2)
    assert "there are huey," in run("--against", "hueyy", status=2)
    assert "there are huey," in run("--peer-python", "hueyy=python3", status=2)
