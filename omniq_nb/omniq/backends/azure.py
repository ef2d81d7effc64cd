"""Azure Blob Storage: a container as a store, over adlfs.

Creation is an upload that must not overwrite: 409 says that the blob is there. Credentials are found as adlfs finds
them (``AZURE_STORAGE_CONNECTION_STRING``, ``AZURE_STORAGE_ACCOUNT_NAME`` and ``..._KEY``, or what
`DefaultAzureCredential` knows), or given as options of `adlfs.AzureBlobFileSystem`. What lies where, and what a task
costs: see `objects`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Collection, Iterator
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import adlfs
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import ContainerClient

from ..storage.driver import About
from ..storage.events import BaseEventStorage
from ..storage.queue import BaseTaskQueue
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from .client_options import documented_keywords, file_system_options
from .objects_bucket import CONNECT_SECONDS, READ_SECONDS, Bucket, BucketDriver, MissingBucketError, server_clock

_quiet = logging.getLogger("omniq.azure")
_quiet.setLevel(logging.WARNING)  # the SDK tells its logger of each request, with all headers, at INFO
_CALL: dict[str, Any] = {
    "retry_total": 0,
    "connection_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "logger": _quiet,
}
_CLIENTS_AT_HAND = 32
_NO_CONTAINER = frozenset({"ContainerNotFound", "ContainerBeingDeleted"})


class AzureContainer(Bucket):
    """See `Bucket`."""

    _files: Any = None
    _container: Any = None
    _blob: Any = None

    async def connect(self) -> None:
        # Not asynchronous=True: at the interpreter's end it would look for fsspec's own loop, and complain.
        try:
            self._files = adlfs.AzureBlobFileSystem(skip_instance_cache=True, **self.options)
        except ValueError as error:
            raise ClientAuthenticationError(str(error)) from error  # no account, or no credentials for it
        # The SDK's client: the file system's calls make a new one each time, and ask for more than they are told. Where
        # no proxy is set, it need not look for one, in the environment and in a file, by two threads, at each request.
        service = self._files.service_client
        transport = AioHttpTransport(use_env_settings=bool(getproxies()))
        self._container = ContainerClient(
            service.url,
            self.bucket,
            credential=service.credential,
            api_version=service.api_version,
            transport=transport,
        )
        # A blob's client takes a quarter of a request's work to make, and the next commit is asked for again and again.
        self._blob = functools.lru_cache(_CLIENTS_AT_HAND)(self._container.get_blob_client)

    async def close(self) -> None:
        files, container, self._files, self._container, self._blob = self._files, self._container, None, None, None
        if container is not None:
            await container.close()
        if files is not None:
            await files.service_client.close()
            if hasattr(files.credential, "close"):
                await files.credential.close()

    async def look(self) -> int | None:
        dates: list[str | None] = []

        def note(answer: Any) -> None:
            dates.append(answer.http_response.headers.get("Date"))

        with self._container_errors():
            blobs = self._container.list_blobs(
                name_starts_with=self.prefix, results_per_page=1, raw_response_hook=note, **_CALL
            )
            async for _ in blobs:
                break
        return server_clock(dates[0] if dates else None)

    async def create_bucket(self) -> None:
        with contextlib.suppress(ResourceExistsError):
            await self._container.create_container(**_CALL)

    async def get(self, name: str) -> bytes | None:
        try:
            with self._container_errors():
                stream = await self._blob(self.prefix + name).download_blob(**_CALL)
                data: bytes = await stream.readall()
        except ResourceNotFoundError:
            return None
        return data

    async def create(self, name: str, data: bytes) -> bool:
        try:
            with self._container_errors():
                await self._blob(self.prefix + name).upload_blob(data, overwrite=False, **_CALL)
        except ResourceExistsError:
            return False
        return True

    async def names(self, prefix: str, after: str = "") -> list[str]:
        # Azure can't begin a list in the middle: it is read from its start, and comes back whole.
        with self._container_errors():
            blobs = self._container.list_blob_names(name_starts_with=self.prefix + prefix, **_CALL)
            return [name for name in self.relative([key async for key in blobs]) if name > after]

    async def delete(self, names: Collection[str]) -> None:
        async def delete(name: str) -> None:
            with contextlib.suppress(ResourceNotFoundError), self._container_errors():
                await self._container.delete_blob(self.prefix + name, **_CALL)

        await self.each(names, delete)

    @contextlib.contextmanager
    def _container_errors(self) -> Iterator[None]:
        try:
            yield
        except HttpResponseError as error:
            if error.error_code in _NO_CONTAINER:  # type: ignore[attr-defined]  # set where the answer says it
                raise MissingBucketError(repr(self.bucket)) from error
            raise


class AzureDriver(BucketDriver):
    """A container of Azure Blob Storage as a store.

    Args:
        url: ``az://container/prefix``, or ``abfs://container@account.dfs.core.windows.net/prefix``.
        clock: The server's, unless a test passes its own.
        durability: Without effect: what Azure has taken is safe.
        options: Of `adlfs.AzureBlobFileSystem`: ``connection_string``, ``account_name``, ``credential`` ...
    """

    scheme: ClassVar[str] = "az"
    about: ClassVar[About] = About(
        title="Azure Blob Storage",
        url="az://container/prefix",
        extra="azure",
        start="nothing to start: a container of a storage account",
        choose="machines that share a container and no server; tasks of seconds, not milliseconds",
    )
    bucket_class: ClassVar[type[Bucket]] = AzureContainer
    foreign_errors: ClassVar[tuple[type[BaseException], ...]] = (OSError, MissingBucketError, AzureError)

    def known_options(self) -> frozenset[str] | None:
        names = file_system_options(adlfs.AzureBlobFileSystem)
        if self.options.keys() <= names:
            return names
        from azure.identity import DefaultAzureCredential  # takes the rest, and a sixth of a second to import

        return names | keywords if (keywords := documented_keywords(DefaultAzureCredential)) else None

    def file_system_options(self) -> dict[str, Any]:
        host = urlsplit(self.url).hostname or ""
        account = host.partition(".")[0] if "@" in urlsplit(self.url).netloc else None
        return ({"account_name": account} if account else {}) | super().file_system_options()

    def status_of(self, error: BaseException) -> int | None:
        if isinstance(error, ClientAuthenticationError):
            return 401
        return error.status_code if isinstance(error, HttpResponseError) else None


class AsyncAzureQueue(BaseTaskQueue):
    """The task queue in a container of Azure Blob Storage; the store is an ``az://`` URL."""

    driver_class = AzureDriver


class AsyncAzureResultStorage(BaseResultStorage):
    """The results in a container of Azure Blob Storage; the store is an ``az://`` URL."""

    driver_class = AzureDriver


class AsyncAzureEventStorage(BaseEventStorage):
    """The events in a container of Azure Blob Storage; the store is an ``az://`` URL."""

    driver_class = AzureDriver


class AsyncAzureScheduleStorage(BaseScheduleStorage):
    """The schedules in a container of Azure Blob Storage; the store is an ``az://`` URL."""

    driver_class = AzureDriver
