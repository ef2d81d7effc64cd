"""One run of the benchmarks: its sizes, its scratch directory, and the contenders as the runner sees them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from contenders import CONTENDERS

from .hosts import Host, HostError, Hosts
from .paths import HERE, ROOT
from .processes import StepError, background, run_step
from .trace import COMPUTING_VARIABLE, PATH_VARIABLE, SLOT_VARIABLE, Trace

_FEWEST = 20


class Bench:
    """One run.

    Args:
        scratch: A directory for stores and traces, on a real disk: durability is measured on it.
        scale: Factor for numbers of tasks and for durations.
        pythons: The interpreters that peers are installed for, by their names; ``""``: that of all others.
        uvloop: Whether producers run on uvloop, which a script may and a notebook does not.
        against: The peers to measure; ``None``: all.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        scale: float = 1.0,
        pythons: Mapping[str, str] | None = None,
        uvloop: bool = False,
        against: frozenset[str] | None = None,
    ) -> None:
        self.scratch = scratch
        self.scale = scale
        self.hosts = Hosts(scratch)
        self._pythons = pythons or {}
        self.uvloop = uvloop
        self.against = against
        self._entries: dict[str, Entry] = {}

    def size(self, tasks: int) -> int:
        """A number of tasks at this run's scale."""
        return max(_FEWEST, round(tasks * self.scale))

    def seconds(self, duration: float) -> float:
        """A duration at this run's scale."""
        return max(0.2, duration * min(1.0, self.scale))

    def takes_part(self, name: str) -> bool:
        """Whether a contender is measured in this run."""
        return self.against is None or is_omniq(name) or name in self.against

    def python(self, name: str) -> str:
        """The interpreter that a contender is installed for."""
        if is_omniq(name):
            return sys.executable
        return self._pythons.get(name) or self._pythons.get("") or sys.executable

    def entry(self, name: str) -> Entry:
        """A contender.

        Raises:
            HostError: There is no server for it.
        """
        if name not in self._entries:
            self._entries[name] = Entry(self, name)
        return self._entries[name]

    def environment(self, **variables: str) -> dict[str, str]:
        """For children: no setting of whoever runs the benchmarks, and the source of OmniQ on the path."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMNIQ_", "BENCH_"))}
        return {**inherited, "PYTHONPATH": os.pathsep.join((str(HERE), str(ROOT / "omniq_nb"))), **variables}


def is_omniq(name: str) -> bool:
    """Whether a contender is OmniQ, in one of its settings."""
    return name.startswith("omniq")


class Entry:
    """A contender as the runner sees it: its store, and its steps, each in a process of its own.

    Args:
        bench: The run.
        name: See `contenders.CONTENDERS`.
    """

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench = bench
        self.name = name
        self.directory = bench.scratch / name
        self.host: Host = bench.hosts.host(CONTENDERS[name].kind)
        self._stores = 0
        self._variables: dict[str, str] = {}
        self.new_store()

    @cached_property
    def about(self) -> dict[str, Any]:
        """What it says of itself: sizes, what it stores, how it delivers; ``missing``: a package that is not there.

        Raises:
            StepError: It can't be loaded for another reason.
        """
        about: dict[str, Any] = self.step("about")
        return about

    # --- stores ---

    @property
    def store(self) -> Path:
        """The present store's directory."""
        return self.directory / f"store-{self._stores}"

    def new_store(self) -> None:
        """Go on with an empty store. The old one's path is not used again: a late process can't disturb the new one."""
        shutil.rmtree(self.store, ignore_errors=True)
        self._stores += 1
        self.store.mkdir(parents=True)
        self.host.empty()

    def filled_store(self, tasks: int) -> None:
        """Go on with a store that holds so many tasks. It is filled once in a run, and copied after, if it can be."""
        master = f"{self.name}-{tasks}"
        self.new_store()
        if not self.host.has(master):
            self.step("fill", tasks=tasks)
            self.host.keep(master, self.store)
        self.host.copy(master, self.store)

    # --- processes ---

    def trace(self, tasks: int, slots: int = 1) -> Trace:
        """A new trace, which this contender's tasks write from now on."""
        path = self.directory / "trace"
        self._variables[PATH_VARIABLE] = str(path)
        return Trace.create(path, tasks, slots)

    def step(self, role: str, *, uvloop: bool = False, **arguments: Any) -> Any:
        """Run a role of it to its end, and give the answer.

        Args:
            role: See `contenders.roles`.
            uvloop: On uvloop where it is installed, whatever this run's producers have.
            **arguments: For the role.

        Raises:
            StepError: It failed or took too long.
        """
        variables = {"BENCH_UVLOOP": "1"} if uvloop or self.bench.uvloop else {}
        command = [*self._command(role), json.dumps(arguments)]
        return run_step(command, self.bench.environment(**self._variables, **variables), self.directory)

    @contextmanager
    def workers(
        self, processes: int = 1, *, wrapper: Sequence[str] = (), computing: float = 0.0, **arguments: Any
    ) -> Iterator[list[psutil.Process]]:
        """Worker processes, as long as the context lasts.

        Args:
            processes: How many.
            wrapper: A command that runs each of them.
            computing: Seconds that each task computes, where the contender's can.
            **arguments: For the role.
        """
        variables = {**self._variables, COMPUTING_VARIABLE: str(computing)}
        environments: list[Mapping[str, str]] = [
            self.bench.environment(**variables, **{SLOT_VARIABLE: str(slot)}) for slot in range(processes)
        ]
        command = [*wrapper, *self._command("work"), json.dumps(arguments)]
        with background(command, environments, self.directory, self.directory / "workers.log") as started:
            yield started

    def _command(self, role: str) -> list[str]:
        return [self.bench.python(self.name), "-m", "contenders", self.name, role, str(self.store), self.host.url]


def absence(bench: Bench, name: str) -> str | None:
    """Why a contender can't be measured here, if it can't."""
    try:
        missing = bench.entry(name).about.get("missing")
    except HostError as error:
        return str(error)
    except StepError as error:
        return f"can't be loaded: {str(error).splitlines()[-1]}"
    return f"not installed: {missing}" if missing else None
