"""Steps and workers, each in a fresh process, none of which outlives the benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from .answer import find

_STOP_SECONDS = 8.0
_SHOWN = 1500


class StepError(Exception):
    """A step failed; the text says which, and the end of what it printed."""


def run_step(command: Sequence[str], environment: Mapping[str, str], directory: Path, timeout: float = 600.0) -> Any:
    """Run a command to its end and give its answer.

    Raises:
        StepError: It failed, took too long or gave no answer.
    """
    child = subprocess.Popen(
        list(command),
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise StepError(f"{' '.join(command[1:])}: not done after {timeout:g} s") from error
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    try:
        return find(output)
    except LookupError:
        said = (output + errors)[-_SHOWN:]
        raise StepError(f"{' '.join(command[1:])}: status {child.returncode}\n{said}") from None


@contextmanager
def background(
    command: Sequence[str], environments: Sequence[Mapping[str, str]], directory: Path, log: Path
) -> Iterator[list[psutil.Process]]:
    """One process of a command for each environment; they are asked to stop at the end, and killed if they don't."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("ab") as output:
            for environment in environments:
                child = subprocess.Popen(
                    list(command),
                    env=dict(environment),
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                children.append(child)
        yield [psutil.Process(child.pid) for child in children]
    finally:
        _stop(children)


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.1, deadline - time.monotonic()))
        with suppress(ProcessLookupError):  # what it started and left behind goes too
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Processor time that these processes and their children have used."""
    total = 0.0
    for each in _with_children(processes):
        with suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
    return total


class Load:
    """What is used of the processors from its making on.

    Args:
        server: Process id of a server of which it tells more.
    """

    def __init__(self, server: int | None = None) -> None:
        self._server = [] if server is None else [psutil.Process(server)]
        self._began = time.monotonic(), psutil.cpu_times(), cpu_seconds(self._server)

    def shares(self) -> tuple[float | None, float | None]:
        """How busy all processors were, by whoever it was, and how much of one the server took: 0 to 100 %, the server
        perhaps more. ``None``: there is no server, or it was over before the system had counted anything.
        """
        at, times, used = self._began
        now = psutil.cpu_times()
        spent = sum(now) - sum(times)
        if spent <= 0:
            return None, None
        busy = 100 * (1 - (now.idle - times.idle) / spent)
        return busy, 100 * (cpu_seconds(self._server) - used) / (time.monotonic() - at) if self._server else None


def resident_mb(processes: Sequence[psutil.Process]) -> float:
    """Memory that these processes and their children hold, in MB."""
    total = 0
    for each in _with_children(processes):
        with suppress(psutil.Error):
            total += each.memory_info().rss
    return total / 1e6


def _with_children(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    found = list(processes)
    for each in processes:
        with suppress(psutil.Error):
            found += each.children(recursive=True)
    return found
