"""What the tests of the synchronous classes share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omniq import OmniQ

Script = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[OmniQ]:
    with OmniQ(f"sqlite:///{tmp_path / 'omniq.db'}", poll_interval=0.1) as app:
        yield app


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Runs a script to its end in a process of its own; warnings are errors there.

    Its tasks travel by value, but share what the module `signals` holds.
    """
    (tmp_path / "signals.py").write_text(
        "import threading\n\nstarted, may_end = threading.Event(), threading.Event()\n"
    )

    def run(text: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(text)
        command = [sys.executable, "-W", "error", str(path)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)

    return run
