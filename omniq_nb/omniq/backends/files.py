"""Local files: a directory as a store, for any number of processes of one machine.

An object is a file. It is written under a hidden name and then linked to its own, which fails if that is taken: so it
appears whole and at once, and one of two writers gets it. (fsspec's local file system looks first and writes then,
which lets up to three of twenty win.) The rest is in `objects`. Processes wake each other as SQLite's do: see
`doorbell`.

Reads and writes of less than a megabyte are done on the loop's own thread: they take some 50 microseconds, and handing
them to another thread would take longer. With ``durability="full"`` every commit waits for the disk, in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import time
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from typing import ClassVar, Unpack

from ..errors import StoreError, StoreFullError, StoreIOError, StoreReadOnlyError, StoreUnavailableError
from ..storage.driver import About, Capabilities, DriverSettings
from ..storage.events import BaseEventStorage
from ..storage.queue import BaseTaskQueue
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from .doorbell import Doorbell
from .local_url import place_of
from .objects import ObjectDriver
from .objects_format import MARKER
from .objects_store import ObjectStore

try:
    import fcntl
except ImportError:  # Windows: its processes take no turns, and try again when another one was faster
    fcntl = None  # type: ignore[assignment]  # see above

_INLINE_BYTES = 1_000_000
_UNFINISHED, _WAKE, _TURN = "unfinished", "wake", "turn"
"""Directories for files that are being written and for the doorbell's pipes; the file that who commits locks."""
_TURN_SECONDS = 0.1
"""A process that holds its turn for longer is suspended, perhaps: the others go on."""
_EAGER_LOOKS = 10
_ABANDONED_SECONDS = 3600.0
_DELETED_PER_HOP = 200

_ERRORS: dict[int, type[StoreError]] = {
    errno.EACCES: StoreReadOnlyError,
    errno.EPERM: StoreReadOnlyError,
    errno.EROFS: StoreReadOnlyError,
    errno.ENOSPC: StoreFullError,
    errno.EDQUOT: StoreFullError,
    errno.EIO: StoreIOError,
    errno.EFBIG: StoreIOError,
}


class Files(ObjectStore):
    """Objects as files.

    Args:
        root: The namespace's directory.
        durable: Flush each to the disk.
    """

    looks_cheaply: ClassVar[bool] = True
    grace: ClassVar[float] = 30.0

    def __init__(self, root: Path, *, durable: bool) -> None:
        self._root = f"{root}{os.sep}"
        self._unfinished = f"{root}{os.sep}{_UNFINISHED}{os.sep}{os.getpid()}-{secrets.token_hex(4)}-"
        self._numbers = count()
        self._durable = durable
        self._turn: int | None = None

    async def open(self, *, create: bool) -> int | None:  # noqa: ARG002 -- a directory is always created
        unfinished = Path(self._root, _UNFINISHED)
        unfinished.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 -- once, at opening
        # What killed processes left unfinished has no name of its own yet, and nobody reads it.
        over = time.time() - _ABANDONED_SECONDS
        for entry in list(os.scandir(unfinished)):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime < over:
                    os.unlink(entry.path)  # noqa: PTH108 -- paths are text here, see `_read`
        if fcntl is not None:
            self._turn = os.open(self._root + _TURN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return None

    async def close(self) -> None:
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    async def take_turn(self) -> None:
        if self._turn is None:
            return
        give_up_at, looks = time.monotonic() + _TURN_SECONDS, 0
        while time.monotonic() < give_up_at:
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                looks += 1
                await asyncio.sleep(0 if looks < _EAGER_LOOKS else 0.001)
            else:
                return

    def end_turn(self) -> None:
        if self._turn is not None:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    # --- objects ---

    async def get(self, name: str) -> bytes | None:
        return _read(self._root + name)

    async def create(self, name: str, data: bytes) -> bool:
        if self._durable or len(data) > _INLINE_BYTES:
            return await asyncio.to_thread(self._create, name, data)
        return self._create(name, data)

    def _create(self, name: str, data: bytes) -> bool:
        path, unfinished = self._root + name, f"{self._unfinished}{next(self._numbers)}"
        _write(unfinished, data, durable=self._durable)
        try:
            return self._link(unfinished, path)
        finally:
            os.unlink(unfinished)  # noqa: PTH108 -- see `_read`

    def _link(self, unfinished: str, path: str) -> bool:
        while True:
            try:
                os.link(unfinished, path)
            except FileExistsError:
                return False
            except FileNotFoundError:
                # Its folder is new, or was removed as empty just now.
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                continue
            if self._durable:
                _flush_directory(Path(path).parent)
            return True

    async def names(self, prefix: str, after: str = "") -> list[str]:
        return sorted(name for name in self._walk(prefix.rstrip("/")) if name > after)

    def _walk(self, folder: str) -> Iterator[str]:
        try:
            entries = list(os.scandir(self._root + folder))
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(f"{folder}/{entry.name}")
            else:
                yield f"{folder}/{entry.name}"

    async def delete(self, names: Collection[str]) -> None:
        folders: set[str] = set()
        for number, name in enumerate(names, start=1):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._root + name)  # noqa: PTH108 -- see `_read`
            if name.count("/") > 1:
                folders.add(name.rpartition("/")[0])
            if number % _DELETED_PER_HOP == 0:
                await asyncio.sleep(0)
        for folder in folders:
            with contextlib.suppress(OSError):  # it is not empty, as a rule
                os.rmdir(self._root + folder)  # noqa: PTH106 -- see `_read`


def _read(path: str) -> bytes | None:
    # By descriptor, with text for paths: a look for the next commit, which every call begins with, takes a third.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size)
        while len(data) < size and (more := os.read(fd, size - len(data))):
            data += more
        return data
    finally:
        os.close(fd)


def _write(path: str, data: bytes, *, durable: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if durable:
            os.fsync(fd)
    except BaseException:
        os.unlink(path)  # noqa: PTH108 -- see `_read`
        raise
    finally:
        os.close(fd)


def _flush_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FileDriver(ObjectDriver):
    """A directory as a store.

    Args:
        url: ``file:///relative/directory``, ``file:////absolute/directory``.
        clock: The machine's, unless a test passes its own.
        durability: ``"normal"`` or ``"full"``, which adds two flushes to the disk per commit.
    """

    scheme: ClassVar[str] = "file"
    about: ClassVar[About] = About(
        title="Files",
        url="file:///.omniq/files",
        start="nothing to start: it is a directory",
        choose="one machine, when there must be no database, or as a rehearsal for a bucket",
    )
    capabilities: ClassVar[Capabilities] = Capabilities(atomic_batches=True, pushes=True, shared=True, durable=True)
    option_names: ClassVar[frozenset[str] | None] = frozenset()
    foreign_errors: ClassVar[tuple[type[BaseException], ...]] = (OSError,)

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        url, self.path = place_of(url)
        super().__init__(url, **settings)
        self._bell = Doorbell(self.path / self.namespace / _WAKE, self._rung)

    def make_store(self) -> ObjectStore:
        return Files(self.path / self.namespace, durable=self.durability == "full")

    def translate(self, error: BaseException) -> StoreError:
        assert isinstance(error, OSError)
        kind = _ERRORS.get(error.errno or 0, StoreUnavailableError)
        return kind(self.url, f"{error.filename or self.path}: {error.strerror or error}")

    async def open(self) -> None:
        await super().open()
        self._bell.open()

    async def close(self) -> None:
        await super().close()
        self._bell.close()

    def place(self) -> Path | None:
        return self.path / self.namespace / MARKER

    def secret_directory(self) -> Path | None:
        directory = self.path.parent
        return directory if directory.name == ".omniq" else directory / ".omniq"

    # --- hints ---

    def _rung(self, claimable: bool) -> None:  # noqa: FBT001 -- the doorbell's
        self.changed(claimable=claimable, own=False)

    def wrote(self, *, claimable: bool) -> None:
        self._bell.ring(claimable=claimable)

    def first_watcher(self) -> None:
        self._bell.listen()

    def last_watcher(self) -> None:
        self._bell.stop_listening()


class AsyncFileQueue(BaseTaskQueue):
    """The task queue in a directory; the store is its path or a ``file://`` URL."""

    driver_class = FileDriver


class AsyncFileResultStorage(BaseResultStorage):
    """The results in a directory; the store is its path or a ``file://`` URL."""

    driver_class = FileDriver


class AsyncFileEventStorage(BaseEventStorage):
    """The events in a directory; the store is its path or a ``file://`` URL."""

    driver_class = FileDriver


class AsyncFileScheduleStorage(BaseScheduleStorage):
    """The schedules in a directory; the store is its path or a ``file://`` URL."""

    driver_class = FileDriver
