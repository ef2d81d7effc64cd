"""S3, and what speaks its language: a bucket as a store, over s3fs.

Creation is a PUT with ``If-None-Match: *``: 412 says that the object is there, 409 that another writer is about it. A
server that does not know the header would let two writers win; opening a new store finds that out. Credentials and the
endpoint are found as boto3 finds them (``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` ...), or given as
options of `s3fs.S3FileSystem`. What lies where, and what a task costs: see `objects`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

import aiohttp
import botocore.exceptions
import botocore.loaders
import s3fs
from aiobotocore.session import AioSession

from ..storage.driver import About
from ..storage.events import BaseEventStorage
from ..storage.queue import BaseTaskQueue
from ..storage.results import BaseResultStorage
from ..storage.schedules import BaseScheduleStorage
from .client_options import file_system_options
from .objects_bucket import CONNECT_SECONDS, READ_SECONDS, Bucket, BucketDriver, MissingBucketError, server_clock

_CONFIG = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "max_pool_connections": 32,
}
_KEYS_PER_DELETION = 1000
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_NO_OBJECT = frozenset({"NoSuchKey", "404"})
_NO_BUCKET = "NoSuchBucket"
_MINE_ALREADY = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
_DENIED_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})


class S3Bucket(Bucket):
    """See `Bucket`."""

    _files: Any = None

    async def connect(self) -> None:
        options = {**self.options, "config_kwargs": {**_CONFIG, **self.options.get("config_kwargs", {})}}
        loop = asyncio.get_running_loop()
        files = s3fs.S3FileSystem(asynchronous=True, loop=loop, skip_instance_cache=True, **options)
        files.retries = 1
        if files.session is None:
            session = files.session = AioSession(**files.kwargs)
            session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
        client = await files.set_session()
        self._files = files
        client.meta.events.register_last("before-call.s3", _send_at_once)

    async def close(self) -> None:
        files, self._files = self._files, None
        if files is not None:
            await files._s3creator.__aexit__(None, None, None)  # noqa: SLF001 -- with cache_regions, a client per region

    async def _call(self, method: str, **arguments: Any) -> Any:
        # The file system's own calls list and cache what is of no use here.
        with self._boto_errors():
            return await self._files._call_s3(method, Bucket=self.bucket, **arguments)  # noqa: SLF001 -- see above

    @contextlib.contextmanager
    def _boto_errors(self) -> Iterator[None]:
        """The client's own errors say more than those that s3fs makes of them."""
        try:
            yield
        except OSError as error:
            cause = error.__cause__
            if not isinstance(cause, botocore.exceptions.ClientError):
                raise
            if _code(cause) == _NO_BUCKET:
                raise MissingBucketError(repr(self.bucket)) from cause
            raise cause from None

    async def look(self) -> int | None:
        answer = await self._call("list_objects_v2", Prefix=self.prefix, MaxKeys=1)
        return server_clock(answer["ResponseMetadata"]["HTTPHeaders"].get("date"))

    async def create_bucket(self) -> None:
        try:
            await self._call("create_bucket")
        except botocore.exceptions.ClientError as error:
            if _code(error) not in _MINE_ALREADY:
                raise

    async def get(self, name: str) -> bytes | None:
        try:
            answer = await self._call("get_object", Key=self.prefix + name)
        except botocore.exceptions.ClientError as error:
            if _code(error) in _NO_OBJECT:
                return None
            raise
        async with answer["Body"] as body:
            data: bytes = await body.read()
        return data

    async def create(self, name: str, data: bytes) -> bool:
        try:
            await self._call("put_object", Key=self.prefix + name, Body=data, IfNoneMatch="*")
        except botocore.exceptions.ClientError as error:
            if _code(error) in _TAKEN:
                return False
            raise
        return True

    async def names(self, prefix: str, after: str = "") -> list[str]:
        start = self.prefix + (after or prefix)
        answer = await self._call("list_objects_v2", Prefix=self.prefix + prefix, StartAfter=start)
        return self.relative(each["Key"] for each in answer.get("Contents", ()))

    async def delete(self, names: Collection[str]) -> None:
        keys = [{"Key": self.prefix + name} for name in names]
        for start in range(0, len(keys), _KEYS_PER_DELETION):
            page = {"Objects": keys[start : start + _KEYS_PER_DELETION], "Quiet": True}
            await self._call("delete_objects", Delete=page)


@functools.cache
def _descriptions(path: str | None) -> botocore.loaders.Loader:
    """Amazon's services, as botocore describes them: megabytes of JSON, which each session would read anew."""
    return botocore.loaders.create_loader(path)


def _send_at_once(params: dict[str, Any], **_: object) -> None:
    """Send a body with its headers, without asking first whether the server wants it (``Expect: 100-continue``).

    That is another round trip for each commit; and where the connection ends before the question is out, aiohttp fails
    in a task that nobody waits for, which asyncio reports with a traceback.
    """
    params["headers"].pop("Expect", None)


def _code(error: botocore.exceptions.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


class S3Driver(BucketDriver):
    """A bucket of S3 as a store.

    Args:
        url: ``s3://bucket/prefix``.
        clock: The server's, unless a test passes its own.
        durability: Without effect: what S3 has taken is safe.
        options: Of `s3fs.S3FileSystem`: ``key``, ``secret``, ``endpoint_url``, ``client_kwargs`` ...
    """

    scheme: ClassVar[str] = "s3"
    about: ClassVar[About] = About(
        title="S3",
        url="s3://bucket/prefix",
        extra="s3",
        start="nothing to start: a bucket, at AWS or any server that knows If-None-Match (MinIO, Ceph, R2)",
        choose="machines that share a bucket and no server; tasks of seconds, not milliseconds",
    )
    bucket_class: ClassVar[type[Bucket]] = S3Bucket
    option_names: ClassVar[frozenset[str] | None] = file_system_options(s3fs.S3FileSystem, AioSession)
    foreign_errors: ClassVar[tuple[type[BaseException], ...]] = (
        OSError,
        MissingBucketError,
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
        aiohttp.ClientError,
    )

    def status_of(self, error: BaseException) -> int | None:
        if isinstance(error, botocore.exceptions.ClientError):
            if _code(error) in _DENIED_CODES:
                return 403
            status: int | None = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status
        denied = (
            botocore.exceptions.NoCredentialsError,
            botocore.exceptions.PartialCredentialsError,
            botocore.exceptions.ProfileNotFound,
        )
        if isinstance(error, denied):
            return 401
        return None


class AsyncS3Queue(BaseTaskQueue):
    """The task queue in a bucket of S3; the store is an ``s3://`` URL."""

    driver_class = S3Driver


class AsyncS3ResultStorage(BaseResultStorage):
    """The results in a bucket of S3; the store is an ``s3://`` URL."""

    driver_class = S3Driver


class AsyncS3EventStorage(BaseEventStorage):
    """The events in a bucket of S3; the store is an ``s3://`` URL."""

    driver_class = S3Driver


class AsyncS3ScheduleStorage(BaseScheduleStorage):
    """The schedules in a bucket of S3; the store is an ``s3://`` URL."""

    driver_class = S3Driver
