"""Real kernels, and shells inside the test's own process."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.manager import KernelManager

PATIENCE = 60
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Ran:
    """What came of a cell."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.text = ""
        """What it printed, and the text of what it displayed or raised."""
        self.shown: list[dict[str, Any]] = []
        """The bundles that it displayed."""
        self.comms: list[dict[str, Any]] = []
        """The messages of widgets that came meanwhile."""


class Kernel:
    """A kernel in a folder of its own. It ends when the process that started it does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OMNIQ_")}
        environment["IPYTHONDIR"] = str(folder / ".ipython")
        environment["TMPDIR"] = str(folder)
        self.manager = KernelManager()
        self.manager.start_kernel(cwd=str(folder), env=environment)
        self._connect()

    def _connect(self) -> None:
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def run(self, code: str, *, fails: bool = False) -> Ran:
        """Run a cell, which has to end well unless it ``fails``."""
        ran = Ran("")

        def note(message: dict[str, Any]) -> None:
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                ran.text += content["text"]
            elif kind in ("execute_result", "display_data"):
                ran.shown.append(content["data"])
                ran.text += content["data"]["text/plain"] + "\n"
            elif kind == "error":
                ran.text += _COLOUR.sub("", "\n".join(content["traceback"]))
            elif kind == "comm_msg":
                ran.comms.append(content)

        reply = self.client.execute_interactive(code, timeout=PATIENCE, output_hook=note, allow_stdin=False)
        ran.status = reply["content"]["status"]
        assert (ran.status == "error") is fails, f"{code}\n{ran.text}"
        return ran

    def value(self, expression: str) -> str:
        """The repr of an expression."""
        return self.run(f"print(repr(({expression})))").text.strip()

    @property
    def pid(self) -> int:
        """The kernel's process."""
        return self.manager.provisioner.pid

    def restart(self, *, now: bool) -> None:
        """Restart it: politely, or by killing it."""
        self.client.stop_channels()
        self.manager.restart_kernel(now=now)
        self._connect()

    def kill(self) -> None:
        """SIGKILL, as the machine's memory keeper does it."""
        os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel that has loaded nothing."""
    kernel = Kernel(tmp_path)
    yield kernel
    kernel.stop()


@pytest.fixture
def notebook(kernel: Kernel) -> Kernel:
    """A kernel that has loaded OmniQ."""
    kernel.run("%load_ext omniq\nimport omniq, asyncio, time")
    return kernel


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """A shell in this process, without a kernel."""
    shell = InteractiveShell()
    yield shell
    shell.history_manager.end_session()
    if shell.history_manager.save_thread is not None:
        shell.history_manager.save_thread.stop()


def gone(pid: int) -> bool:
    """Whether a process has ended; waits for it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def wait_until_gone() -> Any:
    """Says whether a process ends."""
    return gone
