"""Any other file system that fsspec knows and that creates exclusively: ``fsspec+PROTOCOL://path``.

Its ``pipe_file(path, data, mode="create")`` must create an object whole and at once, or raise FileExistsError: with one
that looks first and writes then, as fsspec does where a file system has no such call of its own, two writers could both
succeed. Such file systems are refused, and so are those that turn out to ignore the mode. What lies where, and what a
task costs: see `objects`. Listing a directory means to list all of it here, so that the others are faster.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Any, ClassVar, Unpack
from urllib.parse import urlsplit

from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs
from fsspec.registry import get_filesystem_class
from fsspec.spec import AbstractFileSystem

from ..errors import ConfigError, StoreDeniedError, StoreError, StoreUnavailableError
from ..masking import mask_url
from ..storage.driver import About, Capabilities, DriverSettings
from .objects import ObjectDriver
from .objects_store import ObjectStore

SCHEME = "fsspec+"


class FileSystemError(Exception):
    """What a file system raised, whatever that is; the original is its cause."""


class FsspecStore(ObjectStore):
    """Objects under a path of a file system.

    Args:
        url: As fsspec takes it.
        namespace: The last part of the path.
        options: For the file system.
    """

    def __init__(self, url: str, namespace: str, options: dict[str, Any]) -> None:
        self._url = url
        self._namespace = namespace
        self._options = options
        self._files: Any = None

    async def open(self, *, create: bool) -> None:
        files, path = await self._in_thread(
            url_to_fs, self._url, skip_instance_cache=True, use_listings_cache=False, **self._options
        )
        if not _creates_exclusively(files):
            raise ConfigError(
                f"{mask_url(self._url)!r}: {type(files).__name__} can't create files exclusively, and so workers would "
                "get into each other's way: use another store"
            )
        self._files, self._base = files, f"{path.rstrip('/')}/{self._namespace}/"
        # Nobody promises that file systems which work in the caller's thread may be used from two.
        self._one_at_a_time = asyncio.Lock()
        if create:
            await self._do("makedirs", path, exist_ok=True)

    async def close(self) -> None:
        self._files = None

    async def _do(self, method: str, *args: Any, **kwargs: Any) -> Any:
        files = self._files
        if files.async_impl:  # it has a loop in a thread of its own
            work = getattr(files, f"_{method}")(*args, **kwargs)
            return await self._told(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, files.loop)))
        async with self._one_at_a_time:
            return await self._in_thread(getattr(files, method), *args, **kwargs)

    async def _in_thread(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await self._told(asyncio.to_thread(function, *args, **kwargs))

    async def _told(self, work: Any) -> Any:
        try:
            return await work
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            raise FileSystemError(f"{type(error).__name__}: {error}") from error

    async def get(self, name: str) -> bytes | None:
        try:
            return bytes(await self._do("cat_file", self._base + name))
        except FileNotFoundError:
            return None

    async def create(self, name: str, data: bytes) -> bool:
        try:
            await self._do("pipe_file", self._base + name, data, mode="create")
        except FileExistsError:
            return False
        return True

    async def names(self, prefix: str, after: str = "") -> list[str]:
        directory = self._base + prefix[: prefix.rfind("/") + 1]
        try:
            found = await self._do("find", directory)
        except FileNotFoundError:
            return []
        names = [path[path.index(self._base) + len(self._base) :] for path in found]
        return sorted(name for name in names if name.startswith(prefix) and name > after)

    async def delete(self, names: Collection[str]) -> None:
        async def delete(name: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                await self._do("rm_file", self._base + name)

        await self.each(names, delete)


def _creates_exclusively(files: AbstractFileSystem) -> bool:
    """Whether it has a call of its own for it; whether that keeps to the mode, the driver finds out."""
    kind = type(files)
    if files.async_impl:
        return kind._pipe_file is not AsyncFileSystem._pipe_file  # noqa: SLF001 -- so fsspec names what is to be overridden
    return kind.pipe_file is not AbstractFileSystem.pipe_file


class FsspecDriver(ObjectDriver):
    """Another file system of fsspec's as a store.

    Args:
        url: ``fsspec+PROTOCOL://...``, the rest as fsspec takes it; parameters as for every store of objects.
        clock: The machine's, unless a test passes its own.
        durability: Without effect: what the file system has taken is taken.
        options: Of the file system's class.
    """

    scheme: ClassVar[str] = SCHEME
    about: ClassVar[About] = About(
        title="Other file systems",
        url="fsspec+PROTOCOL://path",
        extra="",
        start="whatever fsspec knows that creates files exclusively; its package has to be installed",
        choose="object stores of others, such as `fsspec+oss://`",
    )
    capabilities: ClassVar[Capabilities] = Capabilities(atomic_batches=True, pushes=False, shared=True, durable=True)
    foreign_errors: ClassVar[tuple[type[BaseException], ...]] = (OSError, FileSystemError)

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        super().__init__(url, **settings)
        protocol = urlsplit(url).scheme.removeprefix(SCHEME)
        try:
            get_filesystem_class(protocol)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"{mask_url(url)!r}: fsspec does not know {protocol!r} here: {error}") from error

    def make_store(self) -> ObjectStore:
        parts = urlsplit(self.url.removeprefix(SCHEME))
        return FsspecStore(f"{parts.scheme}://{parts.netloc}{parts.path}", self.namespace, dict(self.options))

    def translate(self, error: BaseException) -> StoreError:
        url, detail = mask_url(self.url), " ".join(str(error).split())
        if isinstance(error.__cause__ or error, PermissionError):
            return StoreDeniedError(url, detail)
        return StoreUnavailableError(url, detail, sent=True)
