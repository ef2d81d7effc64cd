"""What the three clouds' buckets have in common, over fsspec's file systems.

An adapter makes the file system, and says how to read, create, list and delete by it, and what its client's errors
mean. The file systems' own retries are turned off where they can be: how often, and after what pause, is `Breaker`'s to
say.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Unpack
from urllib.parse import unquote, urlsplit

from ..clock import from_datetime, system_clock
from ..errors import ConfigError, OptionError, StoreDeniedError, StoreError, StoreUnavailableError, ValueTooLargeError
from ..masking import mask_url
from ..storage.driver import Capabilities, DriverSettings
from .objects import ObjectDriver
from .objects_clock import BucketClock
from .objects_store import ObjectStore

CONNECT_SECONDS, READ_SECONDS = 5, 30
_HALF_SECOND = 500_000

_DENIED = frozenset({401, 403})
_TOO_LARGE = 413
_PYTHONS_OWN = frozenset({TypeError, ValueError, AttributeError, KeyError, IndexError})
_COMES_AND_GOES = frozenset({408, 409, 425, 429})
"""Besides 5xx."""


class MissingBucketError(Exception):
    """There is no such bucket."""


class Bucket(ObjectStore):
    """Objects of one bucket under one prefix.

    Args:
        bucket: Its name.
        prefix: Ends with a slash.
        options: For the file system.
    """

    def __init__(self, bucket: str, prefix: str, options: dict[str, Any]) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.options = options

    async def open(self, *, create: bool) -> int | None:
        try:
            await self.connect()
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            if type(error) not in _PYTHONS_OWN:  # the client's own words, which the driver translates
                raise
            raise OptionError(
                f"the client of the bucket {self.bucket!r} can't be made, since one of its storage_options has a value "
                f"that it can't have: {type(error).__name__}: {error}"
            ) from error
        try:
            return await self._look(create=create)
        except BaseException:
            await self.close()
            raise

    async def _look(self, *, create: bool) -> int | None:
        try:
            return await self.look()
        except MissingBucketError:
            if not create:
                raise
        await self.create_bucket()
        return await self.look()

    @abc.abstractmethod
    async def connect(self) -> None:
        """Make the file system, on the running loop."""

    @abc.abstractmethod
    async def look(self) -> int | None:
        """Make sure that the bucket is there and may be used; gives the server's clock.

        Raises:
            MissingBucketError: There is none.
        """

    @abc.abstractmethod
    async def create_bucket(self) -> None:
        """Create the bucket; somebody else may have been faster."""

    def relative(self, keys: Iterable[str]) -> list[str]:
        """The names of the objects with these keys."""
        return [key.removeprefix(self.prefix) for key in keys]


def server_clock(date: str | None) -> int | None:
    """The moment in an answer's ``Date``, which is cut down to the second."""
    if not date:
        return None
    moment: datetime = parsedate_to_datetime(date)
    return from_datetime(moment, "Date") + _HALF_SECOND


class BucketDriver(ObjectDriver):
    """A bucket as a store."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        atomic_batches=True, pushes=False, shared=True, durable=True, own_clock=True
    )
    bucket_class: ClassVar[type[Bucket]]

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        super().__init__(url, **settings)
        if self.clock is system_clock:
            self.clock = BucketClock()

    def _set_clock(self, time: int | None) -> None:
        if isinstance(self.clock, BucketClock):
            self.clock.begin(time)

    async def keep_time(self) -> None:
        clock, bucket = self.clock, self._store
        if isinstance(clock, BucketClock) and clock.is_doubtful:
            assert isinstance(bucket, Bucket)
            await self.call(lambda: clock.learn(bucket.look), repeat=True)

    def make_store(self) -> ObjectStore:
        parts = urlsplit(self.url)
        bucket, path = parts.netloc.partition("@")[0], unquote(parts.path).strip("/")
        if not bucket:
            raise ConfigError(f"the store's URL {mask_url(self.url)!r} names no bucket: write {self.about.url}")
        prefix = f"{path}/{self.namespace}/" if path else f"{self.namespace}/"
        return self.bucket_class(bucket, prefix, self.file_system_options())

    def file_system_options(self) -> dict[str, Any]:
        """What the file system takes: the user's options, and what the URL says besides."""
        return dict(self.options)

    @abc.abstractmethod
    def status_of(self, error: BaseException) -> int | None:
        """The answer's status, as HTTP has it; ``None``: there was no answer."""

    def translate(self, error: BaseException) -> StoreError:
        url = mask_url(self.url)
        if isinstance(error, MissingBucketError):
            return StoreUnavailableError(url, f"there is no bucket {error}; ?create=true in the URL creates it")
        status = self.status_of(error)
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        if status in _DENIED:
            return StoreDeniedError(url, detail)
        if status == _TOO_LARGE:
            return ValueTooLargeError(url, detail)
        if status is None or status in _COMES_AND_GOES or status >= 500:
            return StoreUnavailableError(url, detail, sent=True)
        return StoreError(url, detail)
