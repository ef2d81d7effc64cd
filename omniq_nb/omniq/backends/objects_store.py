"""What the object driver needs of a store: four calls, one of which creates an object unless it is there already.

An adapter is a subclass. Nothing is ever written over, appended to, renamed or locked.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Collection
from typing import ClassVar

from ..storage.parallel import in_parallel


class ObjectStore(abc.ABC):
    """The objects of one namespace; names are relative to it, with ``/`` between their parts.

    Methods raise what the client library raises; the driver translates that.

    Attributes:
        looks_cheaply: Asking for an object that is not there takes microseconds: so the driver looks before it writes.
        grace: Seconds for which a process may be out of touch with the store before it has to find its way back in;
            what is deleted has been out of use for longer.
        parallel: How many requests of one call are under way at once.
    """

    looks_cheaply: ClassVar[bool] = False
    grace: ClassVar[float] = 120.0
    parallel: ClassVar[int] = 16

    @abc.abstractmethod
    async def open(self, *, create: bool) -> int | None:
        """Connect; gives the store's clock, in microseconds since 1970, if it has one.

        Args:
            create: Create the bucket if it is missing.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Let go of the store. Closing twice does nothing."""

    @abc.abstractmethod
    async def get(self, name: str) -> bytes | None:
        """An object's bytes; ``None``: there is none. What was created is there for everybody at once."""

    @abc.abstractmethod
    async def create(self, name: str, data: bytes) -> bool:
        """Create an object, whole and at once, unless there is one with this name; says whether it did.

        After an error it may have been created all the same, then or later.
        """

    @abc.abstractmethod
    async def names(self, prefix: str, after: str = "") -> list[str]:
        """Some names with this prefix that come after another one, in order; none: there are no more."""

    @abc.abstractmethod
    async def delete(self, names: Collection[str]) -> None:
        """Delete objects; those that are not there are no trouble."""

    async def each(self, names: Collection[str], operation: Callable[[str], Awaitable[object]]) -> None:
        """Do something to each object, a bounded number at a time."""
        await in_parallel(operation, names, limit=self.parallel)

    async def take_turn(self) -> None:  # noqa: B027 -- most stores can't tell
        """Wait a moment while another process commits, where the store can tell. Only speed rests on it."""

    def end_turn(self) -> None:  # noqa: B027 -- see above
        """Let others commit."""
