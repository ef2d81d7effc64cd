"""Large values on a store of their own: the others hold references to them.

A reference is a value of its own kind, told by its first bytes, with which no other serialized value begins. A large
value is written before what refers to it, and removed when nobody can follow the reference any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

import msgspec

from ..clock import SECOND
from ..errors import SerializationError
from ..masking import mask_url
from ..models.record import Delete, Filter, Insert, Record, Replace
from ..models.result import result_keys
from ..models.task import TASK, id_of, life_of
from .driver import Driver
from .identity import identity_of

VALUE = "value"
"""Kind of a large value's record."""
LOOK = "value_look"
"""Kind of the record beside a value that says when to look whether its task is there; it has the value's key."""
UNTOUCHED = 86_400 * SECOND
"""Microseconds for which a value is left alone whose task is not there: the task may be part of a transaction that is
still open, and no transaction that anybody means is open for a day."""
_PAGE = 200
"""Looks of one pass: a million a day."""
_AT_ONCE = 16
"""Values that are read at once, which takes their sum of memory, to be deleted."""
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


def keys_of(task: Record) -> list[str]:
    """Keys of the values that go with a task, those that are large."""
    return [arguments_key(task.key, task.created_at), *result_keys(task)]


class LargeValues:
    """Puts large values into a store, finds them again, and finds those that nobody wants any more.

    A value is written before its task, which may then never come: its process dies, or the transaction is rolled back
    that it was to be a part of. So beside each value there is a small record, due for a look now and then. It names the
    queue, since queues may share a store for large values, and must not look for each other's tasks in vain.

    Args:
        driver: The store.
        threshold: Bytes from which on a value is large.
        tasks: The store of the tasks that they belong to.
    """

    def __init__(self, driver: Driver, threshold: int, tasks: Driver) -> None:
        self.driver = driver
        self._threshold = threshold
        self._tasks = tasks
        self._queue: str | None = None

    def over(self, driver: Driver, tasks: Driver) -> LargeValues:
        """The same over other drivers of the stores."""
        return LargeValues(driver, self._threshold, tasks)

    def is_large(self, value: bytes) -> bool:
        """Whether a serialized value is kept here."""
        return len(value) >= self._threshold

    async def offload(self, value: bytes, key: str) -> bytes:
        """The value, or a reference to it if it is large.

        Args:
            value: A serialized value.
            key: Names it.
        """
        if not self.is_large(value):
            return value
        queue, now = await self._name_of_queue(), self.driver.clock()
        # Never due, and written once: those that are there already were written by an earlier try.
        look = Record(LOOK, key, queue, "", 0, None, None, 0, 1, now, now, now + UNTOUCHED, b"")
        kept = Record(VALUE, key, "", "", 0, None, None, 0, 1, now, now, None, value)
        await self.driver.write([Insert(look), Insert(kept)])
        return _REFERENCE + key.encode()

    async def _name_of_queue(self) -> str:
        if self._queue is None:
            self._queue = await identity_of(self._tasks)
        return self._queue

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
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            # The looks go last: what is broken off in between is found again.
            found = await self.driver.get([(kind, key) for kind in (VALUE, LOOK) for key in some])
            await self.driver.write([Delete(record) for record in found if record is not None])

    async def sweep(self) -> None:
        """Delete values whose task is gone or never came, among those that are due for a look: one page of them."""
        match = Filter(kind=LOOK, partition=await self._name_of_queue(), expires_before=self.driver.clock())
        async for looks in self.driver.pages(match, _PAGE):
            if looks:
                await self._look_at(looks)
                return

    async def _look_at(self, looks: Sequence[Record]) -> None:
        tasks = await self._tasks.get([(TASK, id_of(look.key.rpartition(".")[0])) for look in looks])
        wanted = [task is not None and look.key in keys_of(task) for look, task in zip(looks, tasks, strict=True)]
        await self.remove([look.key for look, is_wanted in zip(looks, wanted, strict=True) if not is_wanted])
        now = self.driver.clock()
        await self.driver.write([Replace(_later(look, now), look) for look in compress(looks, wanted)])


def _later(look: Record, now: int) -> Record:
    """The next look, when the value is twice as old: what is kept for years costs but a few."""
    return msgspec.structs.replace(
        look, version=look.version + 1, updated_at=now, expires_at=now + max(UNTOUCHED, now - look.created_at)
    )
