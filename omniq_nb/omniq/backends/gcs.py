"""Google Cloud Storage: a bucket as a store, over gcsfs.

Creation is an upload with ``ifGenerationMatch=0``: 412 says that the object is there. Every commit has a name of its
own, as Google takes about one write a second under one name. Credentials are found as gcsfs finds them
(``GOOGLE_APPLICATION_CREDENTIALS``, `gcloud`'s, the machine's), or given as options of `gcsfs.GCSFileSystem`;
``STORAGE_EMULATOR_HOST`` leads to an emulator. What lies where, and what a task costs: see `objects`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import Collection
from typing import Any, ClassVar

import aiohttp
import google.auth.exceptions
from gcsfs.core import GCSFileSystem
from gcsfs.retry import HttpError

from ..storage.driver import About
from ..storage.events import BaseEventStorage
from ..storage.queue import BaseTaskQueue
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from .client_options import file_system_options
from .objects_bucket import CONNECT_SECONDS, READ_SECONDS, Bucket, BucketDriver, MissingBucketError, server_clock

_EMULATOR = "STORAGE_EMULATOR_HOST"


class _Files(GCSFileSystem):  # type: ignore[misc]  # gcsfs has no types
    """Without the retries, which take up to a minute; and without a look at the kind of the bucket at each upload."""

    async def _request(self, *args: Any, **kwargs: Any) -> Any:
        return await GCSFileSystem._request.__wrapped__(self, *args, **kwargs)  # noqa: SLF001 -- see above

    async def call(self, method: str, path: str, *args: str, **kwargs: Any) -> tuple[Any, bytes]:
        """One request; gives the answer's headers and body."""
        _, headers, _, contents = await self._request(method, path, *args, **kwargs)
        return headers, contents

    def upload_path(self, bucket: str) -> str:
        """Where objects are uploaded to."""
        return f"{self._location}/upload/storage/v1/b/{bucket}/o"


class GCSBucket(Bucket):
    """See `Bucket`."""

    _files: Any = None

    async def connect(self) -> None:
        options = {
            "requests_timeout": aiohttp.ClientTimeout(READ_SECONDS, sock_connect=CONNECT_SECONDS),
            **self.options,
        }
        if os.environ.get(_EMULATOR):
            options.setdefault("token", "anon")
        loop = asyncio.get_running_loop()
        # Credentials are sought, which may mean to ask the machine's metadata server, before the loop is needed again.
        self._files = await asyncio.to_thread(_Files, asynchronous=True, loop=loop, skip_instance_cache=True, **options)
        await self._files._set_session()  # noqa: SLF001 -- the only way to one on this loop

    async def close(self) -> None:
        files, self._files = self._files, None
        if files is not None:
            await files.session.close()

    async def look(self) -> int | None:
        try:
            headers, _ = await self._files.call("GET", "b/{}/o", self.bucket, prefix=self.prefix, maxResults=1)
        except FileNotFoundError as error:
            raise MissingBucketError(repr(self.bucket)) from error
        return server_clock(headers.get("Date"))

    async def create_bucket(self) -> None:
        with contextlib.suppress(FileExistsError):
            await self._files.call("POST", "b", project=self._files.project, json={"name": self.bucket})

    async def get(self, name: str) -> bytes | None:
        try:
            _, data = await self._files.call("GET", "b/{}/o/{}", self.bucket, self.prefix + name, alt="media")
        except FileNotFoundError:
            return None
        return bytes(data)

    async def create(self, name: str, data: bytes) -> bool:
        # In one request with two parts: the first one is the name, and the emulator keeps to the condition only so.
        mark = secrets.token_hex(16).encode()
        about = json.dumps({"name": self.prefix + name}).encode()
        body = b"\r\n".join(
            (
                b"--" + mark,
                b"Content-Type: application/json; charset=UTF-8",
                b"",
                about,
                b"--" + mark,
                b"Content-Type: application/octet-stream",
                b"",
                data,
                b"--" + mark + b"--",
            )
        )
        try:
            await self._files.call(
                "POST",
                self._files.upload_path(self.bucket),
                uploadType="multipart",
                ifGenerationMatch="0",
                headers={"Content-Type": f'multipart/related; boundary="{mark.decode()}"'},
                data=body,
            )
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise MissingBucketError(repr(self.bucket)) from error
        return True

    async def names(self, prefix: str, after: str = "") -> list[str]:
        start = self.prefix + after + "\0" if after else ""  # the first name after it: startOffset itself counts
        _, answer = await self._files.call(
            "GET", "b/{}/o", self.bucket, prefix=self.prefix + prefix, startOffset=start, fields="items(name)"
        )
        return self.relative(each["name"] for each in json.loads(answer).get("items", ()))

    async def delete(self, names: Collection[str]) -> None:
        async def delete(name: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                await self._files.call("DELETE", "b/{}/o/{}", self.bucket, self.prefix + name)

        await self.each(names, delete)


class GCSDriver(BucketDriver):
    """A bucket of Google Cloud Storage as a store.

    Args:
        url: ``gs://bucket/prefix``.
        clock: The server's, unless a test passes its own.
        durability: Without effect: what Google has taken is safe.
        options: Of `gcsfs.GCSFileSystem`: ``token``, ``project``, ``endpoint_url`` ...
    """

    scheme: ClassVar[str] = "gs"
    about: ClassVar[About] = About(
        title="Google Cloud Storage",
        url="gs://bucket/prefix",
        extra="gcs",
        start="nothing to start: a bucket",
        choose="machines that share a bucket and no server; tasks of seconds, not milliseconds",
    )
    bucket_class: ClassVar[type[Bucket]] = GCSBucket
    option_names: ClassVar[frozenset[str] | None] = file_system_options(GCSFileSystem)
    foreign_errors: ClassVar[tuple[type[BaseException], ...]] = (
        OSError,
        MissingBucketError,
        HttpError,
        aiohttp.ClientError,
        google.auth.exceptions.GoogleAuthError,
    )

    def status_of(self, error: BaseException) -> int | None:
        if isinstance(error, HttpError):
            return int(error.code) if error.code else None
        if isinstance(error, google.auth.exceptions.GoogleAuthError):
            return None if isinstance(error, google.auth.exceptions.TransportError) else 401
        if isinstance(error, OSError) and str(error).startswith("Forbidden"):
            return 403
        return None


class AsyncGCSQueue(BaseTaskQueue):
    """The task queue in a bucket of Google Cloud Storage; the store is a ``gs://`` URL."""

    driver_class = GCSDriver


class AsyncGCSResultStorage(BaseResultStorage):
    """The results in a bucket of Google Cloud Storage; the store is a ``gs://`` URL."""

    driver_class = GCSDriver


class AsyncGCSEventStorage(BaseEventStorage):
    """The events in a bucket of Google Cloud Storage; the store is a ``gs://`` URL."""

    driver_class = GCSDriver


class AsyncGCSScheduleStorage(BaseScheduleStorage):
    """The schedules in a bucket of Google Cloud Storage; the store is a ``gs://`` URL."""

    driver_class = GCSDriver
