"""Workers beside the kernel: processes of their own, that end when the kernel does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ..config import Config
from ..errors import OmniQError
from ..parts import Parts
from ..storage.workers import WorkerInfo
from .briefly import with_parts
from .publisher import App
from .store_name import store_name

_START_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_STOP_SECONDS = 15.0
_KILLED_SECONDS = 5.0


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is started with; see ``omniq worker --help``."""

    kind: str
    concurrency: int | None = None
    queues: str | None = None
    imports: Sequence[str] = ()
    detach: bool = False

    def arguments(self) -> list[str]:
        """The command line; the store and its secret are not on it."""
        arguments = ["worker", "--type", self.kind]
        if self.concurrency is not None:
            arguments += ["--concurrency", str(self.concurrency)]
        if self.queues:
            arguments += ["--queues", self.queues]
        for module in self.imports:
            arguments += ["--import", module]
        return arguments if self.detach else [*arguments, "--with-parent", str(os.getpid())]


class Child:
    """A worker process.

    Attributes:
        pid: Its process.
        log: Where it writes what it has to say.
        detached: Whether it goes on when the kernel ends.
    """

    def __init__(self, config: Config, options: WorkerOptions) -> None:
        self.detached = options.detach
        self.store = store_name(config)
        self._began = datetime.now(UTC)
        descriptor, name = tempfile.mkstemp(prefix="omniq-worker-", suffix=".log")
        self.log = Path(name)
        with os.fdopen(descriptor, "wb") as log:
            # A session of its own: an interrupt of the kernel goes to its whole process group.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "omniq", *options.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(config),
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def wait_until_reported(self, app: App) -> WorkerInfo:
        """Wait until the worker has reported itself in the store.

        Raises:
            OmniQError: It ended, or did not report in time; the message has its own words.
        """
        return with_parts(app, self._reported)

    async def _reported(self, parts: Parts) -> WorkerInfo:
        deadline = time.monotonic() + _START_SECONDS
        host = socket.gethostname()
        with parts.queue.driver.watch() as changes:
            while True:
                changes.clear()
                for info in await parts.workers.list_workers():
                    if (info.pid, info.host) == (self.pid, host) and info.started_at >= self._began:
                        return info
                if not self.is_alive:
                    said = self.last_words()
                    self.log.unlink(missing_ok=True)
                    raise OmniQError(f"the worker did not start: {said}")
                if time.monotonic() > deadline:
                    raise OmniQError(
                        f"the worker has not reported after {_START_SECONDS:g} s, and was stopped: "
                        f"its output is in {self.log}"
                    )
                await asyncio.sleep(0)  # an interrupted wait ends here
                await changes.wait(_LOOK_SECONDS)

    def last_words(self) -> str:
        """The last line of its output."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].removeprefix("omniq: ") if lines else f"it ended with status {self._process.poll()}"

    def ask_to_stop(self) -> None:
        """Have it take no more tasks, and end when those that run have."""
        if self.is_alive:
            self._process.send_signal(signal.SIGTERM)

    def end(self, give_up_at: float) -> bool:
        """Wait until it has ended, and kill it if that takes too long; says whether it ended by itself.

        Args:
            give_up_at: How long that is, by `time.monotonic`.
        """
        try:
            self._process.wait(max(give_up_at - time.monotonic(), 0))
            orderly = True
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_KILLED_SECONDS)
            orderly = False
        self.log.unlink(missing_ok=True)
        return orderly


def environment(config: Config) -> dict[str, str]:
    """This process's environment, with the app's settings: they are the worker's too, and are on no command line."""
    variables = config.as_variables()
    kept = {name: value for name, value in os.environ.items() if name not in variables}
    return kept | {name: value for name, value in variables.items() if value is not None}


class Children:
    """The workers that were started here."""

    def __init__(self) -> None:
        self._all: list[Child] = []

    def start(self, app: App, options: WorkerOptions) -> tuple[Child, WorkerInfo]:
        """Start one, and wait until it works.

        Raises:
            OmniQError: It did not start.
        """
        if not with_parts(app, _is_shared):
            raise OmniQError(
                f"the store {store_name(app.config)} lives in this process, where no other can see it: "
                f"write `%omniq start --in-kernel`, or use another store"
            )
        child = Child(app.config, options)
        self._all.append(child)
        try:
            return child, child.wait_until_reported(app)
        except BaseException:
            child.ask_to_stop()
            self._all.remove(child)
            raise

    def living(self) -> list[Child]:
        """Those that are there."""
        return [child for child in self._all if child.is_alive]

    def take_fallen(self) -> list[Child]:
        """Those that ended without being told to, since this was last asked."""
        fallen = [child for child in self._all if not child.is_alive]
        self._all = self.living()
        return fallen

    def stop(self, *, detached: bool = True) -> tuple[int, int]:
        """Stop them; says how many there were, and how many had to be killed.

        Args:
            detached: Also those that were to outlive the kernel.
        """
        children = [child for child in self.living() if detached or not child.detached]
        for child in children:
            child.ask_to_stop()
        give_up_at = time.monotonic() + _STOP_SECONDS  # for all of them, as they were asked together
        killed = sum(not child.end(give_up_at) for child in children)
        self._all = [child for child in self._all if child not in children]
        return len(children), killed

    def leave(self) -> None:
        """This process ends: those that are not detached are told so at once, and would notice by themselves."""
        for child in self.living():
            if not child.detached:
                child.ask_to_stop()
                child.log.unlink(missing_ok=True)


async def _is_shared(parts: Parts) -> bool:
    return parts.queue.driver.capabilities.shared
