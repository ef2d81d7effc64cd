"""What the tests share: stores of their own, a clean environment, patience, and child processes that never outlive
them.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest
from omniq import AsyncOmniQ, set_current
from omniq.backends import memory_store

PATIENCE = 60.0
"""Seconds that a test waits for what should happen at once: the machine may be busy."""
_SOURCE = Path(__file__).parents[1] / "omniq_nb"
# Runs a command that the kernel kills when the test run ends, however it ends; without root's power to read and write
# what permissions forbid, if asked for.
_LEASH = """
import ctypes, os, sys
if sys.platform == "linux":
    libc = ctypes.CDLL(None)
    libc.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    for capability in (1, 2, 3) if sys.argv[1] == "bound" else ():
        libc.prctl(24, capability)  # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files, so that each starts its servers once; which of them run side by side matters."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.side_by_side import SideBySide

    return SideBySide(config, log)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: nobody has to look through it for garbage, ten times a minute."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of whoever runs the tests, no current app of the test before."""
    for name in [name for name in os.environ if name.startswith("OMNIQ_")]:
        monkeypatch.delenv(name)
    set_current(None)
    yield
    set_current(None)


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty store of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store/omniq.db"
        return
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    memory_store.forget(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An empty store that several processes can use."""
    return f"sqlite:///{tmp_path}/store/omniq.db"


MakeApp = Callable[..., AsyncOmniQ]


@pytest.fixture
async def make_app(store_url: str) -> AsyncIterator[MakeApp]:
    """Makes apps on `store_url` (or another URL) that retry at once; they are closed after the test."""
    apps: list[AsyncOmniQ] = []

    def make(url: str = store_url, **fields: Any) -> AsyncOmniQ:
        app = AsyncOmniQ(url, **{"retry_delay": 0.0, "poll_interval": 0.2, **fields})
        apps.append(app)
        return app

    yield make
    for app in apps:
        await app.close()


@pytest.fixture
async def app(make_app: MakeApp) -> AsyncOmniQ:
    """An open app."""
    made = make_app()
    await made.open()
    return made


Condition = Callable[[], Any]
Until = Callable[[Condition], Awaitable[Any]]


@pytest.fixture
def until() -> Until:
    """Waits until a condition, a function or a coroutine function, gives something true, and gives that."""

    async def wait(condition: Condition) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"it did not come to this in {PATIENCE:g} s: {inspect.getsource(condition).strip()}")
            await asyncio.sleep(0.02)

    return wait


class Children:
    """Processes that a test starts; none outlives it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[subprocess.Popen[str]] = []

    def python(
        self, *arguments: str, cwd: Path | None = None, bound: bool = False, **environment: str
    ) -> subprocess.Popen[str]:
        """Start Python with these arguments. Its output goes to a file: nobody needs to empty a pipe.

        Args:
            *arguments: Python's.
            cwd: Where it runs.
            bound: Permissions bind it, also where root runs the tests.
            **environment: Variables beside this process's own.
        """
        log = self._directory / f"child-{len(self._started)}.log"
        with log.open("w") as output:
            child = subprocess.Popen(
                [sys.executable, "-S", "-c", _LEASH, "bound" if bound else "free", sys.executable, *arguments],
                cwd=cwd or self._directory,
                env={**os.environ, "PYTHONPATH": str(_SOURCE), "PYTHONFAULTHANDLER": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._started.append(child)
        return child

    def worker(self, url: str, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start ``omniq worker`` on a store."""
        return self.python("-m", "omniq.cli", "worker", "--url", url, *arguments, cwd=cwd, **environment)

    def output_of(self, child: subprocess.Popen[str]) -> str:
        """What the child has printed so far."""
        return (self._directory / f"child-{self._started.index(child)}.log").read_text(errors="replace")

    def finish(self, child: subprocess.Popen[str]) -> str:
        """Wait for a child that must end well; gives what it printed."""
        status = child.wait(PATIENCE)
        output = self.output_of(child)
        assert status == 0, f"the child ended with {status}:\n{output}"
        return output

    def end(self) -> None:
        """Kill what still runs."""
        for child in self._started:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.kill()
                child.wait()


@pytest.fixture
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Starts child processes and ends them after the test."""
    children = Children(tmp_path_factory.mktemp("children"))
    yield children
    children.end()


class LineCounter:
    """Counts the lines of Python that this thread runs while it is entered: a cost that no busy machine changes."""

    def __init__(self) -> None:
        self.count = 0
        self._traced_by: Any = None

    def __enter__(self) -> Self:
        self._traced_by = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._traced_by)

    def _trace(self, _: FrameType, event: str, __: Any) -> Any:
        self.count += event == "line"
        return self._trace


@pytest.fixture
def count_lines() -> Callable[[], LineCounter]:
    """Makes counters."""
    return LineCounter
