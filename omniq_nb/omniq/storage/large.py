"""Large values on a store of their own: the others hold references to them.

A reference is a value of its own kind, told by its first bytes, with which no other serialized value begins. A large
value is written before what refers to it, and removed after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SerializationError
from ..masking import mask_url
from ..models.record import Delete, Insert, Record
from ..models.task import life_of
from .driver import Driver

VALUE = "value"
"""Kind of a large value's record."""
_REFERENCE = b"\xc1R"


def is_reference(value: bytes) -> bool:
    """Whether a serialized value only says where the value is."""
    return value[:2] == _REFERENCE


async def fetch(values: LargeValues | None, reference: bytes) -> bytes:
    """The value that a reference leads to.

    Raises:
        SerializationError: It is not there, or this app has no store for large values.
    """
    if values is None:
        raise SerializationError(
            "the value lies in a store for large values, and this app has none: give it the same large_values=..."
        )
    return await values.fetch(reference)


def arguments_key(task_id: str, created_at: int) -> str:
    """Key of a task's arguments."""
    return f"{life_of(task_id, created_at)}.arguments"


class LargeValues:
    """Puts large values into a store, and finds them again.

    Args:
        driver: The store.
        threshold: Bytes from which on a value is large.
    """

    def __init__(self, driver: Driver, threshold: int) -> None:
        self.driver = driver
        self._threshold = threshold

    def over(self, driver: Driver) -> LargeValues:
        """The same over another driver of the store."""
        return LargeValues(driver, self._threshold)

    async def offload(self, value: bytes, key: str) -> bytes:
        """The value, or a reference to it if it is large.

        Args:
            value: A serialized value.
            key: Names it.
        """
        if len(value) < self._threshold:
            return value
        now = self.driver.clock()
        # Never due, and written once: one that is there already was written by an earlier try.
        await self.driver.write([Insert(Record(VALUE, key, "", "", 0, None, None, 0, 1, now, now, None, value))])
        return _REFERENCE + key.encode()

    async def fetch(self, reference: bytes) -> bytes:
        """The value that a reference leads to.

        Raises:
            SerializationError: It is not there.
        """
        key = reference[len(_REFERENCE) :].decode()
        (record,) = await self.driver.get([(VALUE, key)])
        if record is None:
            raise SerializationError(f"the large value {key!r} is gone from its store {mask_url(self.driver.url)}")
        return record.body

    async def remove(self, keys: Sequence[str]) -> None:
        """Delete values, those that there are."""
        found = await self.driver.get([(VALUE, key) for key in keys])
        await self.driver.write([Delete(record) for record in found if record is not None])
