"""What was measured, as files: one for each scenario, written anew after each round."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .figures import Value


@dataclass
class Results:
    """One scenario's results.

    Attributes:
        scenario: Its name.
        scale: The scale it was measured at; 1: in full.
        machine: Where.
        loads: The machine's load (1 minute) at the beginning of each round: on a busy one only ratios tell something.
        rounds: For each round, the contenders' figures.
        about: What each contender says of itself.
        absent: Why a contender was not measured.
        failed: What went wrong with a contender, round by round.
        server: What they ran on, where it is a server.
    """

    scenario: str
    scale: float = 1.0
    machine: dict[str, Any] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)
    rounds: list[dict[str, dict[str, Value]]] = field(default_factory=list)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)
    server: str = ""

    def save(self, directory: Path) -> None:
        """Write ``<scenario>.json``; whoever reads it meanwhile finds the old one."""
        path = directory / f"{self.scenario}.json"
        draft = path.with_suffix(".part")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.replace(path)

    @classmethod
    def load(cls, directory: Path, scenario: str) -> Results | None:
        """The scenario's last results, if there are any."""
        path = directory / f"{scenario}.json"
        return cls(**json.loads(path.read_text())) if path.exists() else None


def describe_machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "system": platform.system(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
