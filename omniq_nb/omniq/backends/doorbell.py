"""Waking other processes that use the same file, without polling and without a server.

Every process that waits has a named pipe beside the store. Whoever has committed writes one byte into each of the
others' pipes. A bell is a hint: a full pipe, a dead reader, a file system without pipes cost no more than one poll
interval. (A poller at 1 kHz would find changes as fast, for several per cent of a core.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

CHANGED, CLAIMABLE = b"c", b"q"
"""The bytes: something changed; something changed that may be claimable."""

_READ_SIZE = 65536
_TICK_NS = 50_000_000
_LOOK_SECONDS = 0.02


class Doorbell:
    """This process's pipe, and the way to the others'.

    Args:
        directory: Where the pipes lie; every user of the store names the same.
        on_ring: Called on the loop when another process rang; says whether something may be claimable.
    """

    def __init__(self, directory: Path, on_ring: Callable[[bool], None]) -> None:
        self._directory = directory
        self._on_ring = on_ring
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._inbox: int | None = None
        self._others: dict[str, int] = {}
        self._seen_mtime = -1
        self._looked_at = 0.0
        self._look_again: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Make this process's pipe. Does nothing where pipes are not to be had."""
        if not hasattr(os, "mkfifo"):
            return
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            # Under a hidden name until it has its reader: others remove pipes that nobody reads.
            hidden = self._directory / f".{self._name}"
            os.mkfifo(hidden, 0o600)
            # Read and write: with a writer of its own the pipe never reports end of file when another one leaves.
            self._inbox = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            hidden.rename(self._directory / self._name)
        except OSError:
            # A read-only directory, a network share, a FUSE mount: the store itself reports what matters to the user.
            self._inbox = None

    def close(self) -> None:
        """Remove this process's pipe."""
        self.stop_listening()
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        if self._inbox is not None:
            os.close(self._inbox)
            self._inbox = None
            with contextlib.suppress(OSError):
                (self._directory / self._name).unlink()
        for fd in self._others.values():
            os.close(fd)
        self._others.clear()

    def listen(self) -> None:
        """Pass rings on to ``on_ring``, on the running loop, until `stop_listening`."""
        if self._inbox is None:
            return
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._inbox, self._read)
        except NotImplementedError:  # Windows' proactor loop: it polls
            return
        self._loop = loop

    def stop_listening(self) -> None:
        """Leave what comes in the pipe; a full pipe is no trouble for those who ring."""
        if self._loop is not None and self._inbox is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._inbox)
        self._loop = None

    def _read(self) -> None:
        if self._inbox is None:
            return
        try:
            rings = os.read(self._inbox, _READ_SIZE)
        except BlockingIOError:
            return
        self._on_ring(CLAIMABLE in rings)

    def ring(self, *, claimable: bool) -> None:
        """Wake the others. Never blocks, never fails. Call it on the loop."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._find_others()
        elif self._look_again is None:
            # Who came since the last look gets his ring a little later.
            self._look_again = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._ring_late)
        self._ring_all(claimable=claimable)

    def _ring_late(self) -> None:
        self._look_again = None
        self._looked_at = time.monotonic()
        known = set(self._others)
        self._find_others()
        if self._others.keys() - known:
            self._ring_all(claimable=True)

    def _ring_all(self, *, claimable: bool) -> None:
        message = CLAIMABLE if claimable else CHANGED
        for name, fd in list(self._others.items()):
            try:
                os.write(fd, message)
            except BlockingIOError:
                continue  # its pipe is full: it will wake anyway
            except OSError:
                self._forget(name)

    def _find_others(self) -> None:
        try:
            mtime = os.stat(self._directory).st_mtime_ns  # noqa: PTH116 -- asked after every commit, a third of the price
            if mtime == self._seen_mtime:
                return
            names = set(os.listdir(self._directory))  # noqa: PTH208 -- names are all it takes
        except OSError:
            return
        # A directory's time stamp is coarse: one that is still fresh may hide a second change in the same tick.
        self._seen_mtime = mtime if time.time_ns() - mtime > _TICK_NS else -1
        names = {name for name in names if name != self._name and not name.startswith(".")}
        for gone in self._others.keys() - names:
            os.close(self._others.pop(gone))
        for name in names - self._others.keys():
            try:
                self._others[name] = os.open(self._directory / name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nobody reads it: its process was killed
                    self._unlink(name)

    def _forget(self, name: str) -> None:
        os.close(self._others.pop(name))
        self._unlink(name)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self._directory / name).unlink()
