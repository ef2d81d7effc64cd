"""A trace of task starts that all processes of a benchmark share, so that losses and duplicates show.

The queue under test is not asked: a task notes its own start in a memory-mapped file, which takes about half a
microsecond. Standard library only, since tasks of every contender import it.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache, reduce
from operator import or_
from pathlib import Path

PATH_VARIABLE, SLOT_VARIABLE = "BENCH_TRACE", "BENCH_SLOT"
COMPUTING_VARIABLE = "BENCH_COMPUTING"
"""Seconds of processor time that each task of a contender that `compute`s takes for itself."""

_HEADER = struct.Struct("qq")
_TIME = struct.Struct("d")
_LOOK_SECONDS = 0.02


class Trace:
    """For each task, by its index, how often it started and when it did so last (seconds of the monotonic clock).

    Each process counts in a slot of its own: counting in a shared byte could lose one of two starts at the same moment.

    Args:
        path: A file that `create` has made.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.tasks: int
        self._slots: int
        self.tasks, self._slots = _HEADER.unpack_from(self._map)
        self._times = _times_offset(self.tasks, self._slots)

    @classmethod
    def create(cls, path: Path, tasks: int, slots: int = 1) -> Trace:
        """A new trace; a process that still writes to one of the same name does not write to this one."""
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            file.write(_HEADER.pack(tasks, slots))
            file.truncate(_times_offset(tasks, slots) + _TIME.size * tasks)
        return cls(path)

    def mark(self, index: int, slot: int = 0) -> None:
        """Note that a task starts now."""
        _TIME.pack_into(self._map, self._times + _TIME.size * index, time.monotonic())
        self._map[_HEADER.size + slot * self.tasks + index] += 1

    def start_of(self, index: int) -> float | None:
        """When a task started last; ``None``: not yet."""
        (at,) = _TIME.unpack_from(self._map, self._times + _TIME.size * index)
        return at or None

    def starts(self) -> list[float]:
        """The moments at which tasks started, in order."""
        return sorted(at for at in struct.unpack_from(f"{self.tasks}d", self._map, self._times) if at)

    @property
    def started(self) -> int:
        """How many tasks have started."""
        together = reduce(or_, (int.from_bytes(counts, "little") for counts in self._counts()))
        return self.tasks - together.to_bytes(self.tasks, "little").count(0)

    @property
    def duplicates(self) -> int:
        """Starts beyond each task's first."""
        return sum(sum(counts) for counts in self._counts()) - self.started

    def _counts(self) -> list[bytes]:
        begins = (_HEADER.size + slot * self.tasks for slot in range(self._slots))
        return [self._map[begin : begin + self.tasks] for begin in begins]

    def wait(self, tasks: int, *, patience: float = 20.0, limit: float = 300.0) -> bool:
        """Whether so many tasks have started; gives up after ``limit`` seconds, or ``patience`` without one more."""
        began = time.monotonic()
        seen, seen_at = -1, began
        while (started := self.started) < tasks:
            if started != seen:
                seen, seen_at = started, time.monotonic()
            elif time.monotonic() - seen_at > patience:
                return False
            if time.monotonic() - began > limit:
                return False
            time.sleep(_LOOK_SECONDS)
        return True


def rate_of(starts: Sequence[float], *, skip: int = 0, window: float | None = None) -> float:
    """How many tasks started in a second.

    Args:
        starts: In order.
        skip: So many at the beginning are warm-up.
        window: Only so many seconds after the warm-up count.
    """
    counted = starts[skip:]
    if window is not None and counted:
        counted = counted[: bisect_right(counted, counted[0] + window)]
    if len(counted) < 2 or counted[-1] <= counted[0]:
        return 0.0
    return (len(counted) - 1) / (counted[-1] - counted[0])


def _times_offset(tasks: int, slots: int) -> int:
    return -(-(_HEADER.size + tasks * slots) // _TIME.size) * _TIME.size


@cache
def _current() -> tuple[Trace, int]:
    return Trace(Path(os.environ[PATH_VARIABLE])), int(os.environ.get(SLOT_VARIABLE, "0"))


def mark(index: int) -> None:
    """Note in this process's trace that a task starts now."""
    trace, slot = _current()
    trace.mark(index, slot)


@cache
def _seconds_of_computing() -> float:
    return float(os.environ.get(COMPUTING_VARIABLE, "0"))


def compute() -> None:
    """Keep a processor busy for as long as this run's tasks are to do so; as a rule they are to do nothing."""
    if seconds := _seconds_of_computing():
        # By the thread's own time: one that has to wait for a processor computes no less.
        done_at = time.thread_time() + seconds
        while time.thread_time() < done_at:
            pass
