"""What drivers of stores behind a network have in common: one policy for lost connections."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar, Unpack

from ..errors import StoreError
from ..masking import mask_url
from .breaker import Breaker
from .driver import Driver, DriverSettings
from .endings import Turns

_T = TypeVar("_T")


class RemoteDriver(Driver):
    """A driver whose calls pass through a `Breaker`, and whose client's errors are translated in one place."""

    foreign_errors: ClassVar[tuple[type[BaseException], ...]]
    """What the client library raises."""

    def __init__(self, url: str, **settings: Unpack[DriverSettings]) -> None:
        super().__init__(url, **settings)
        self.breaker = Breaker(mask_url(url))
        self._turns = Turns()

    async def open(self) -> None:
        await self._turns.open(self._connect_patiently)

    async def close(self) -> None:
        await self._turns.close(self._let_go_soon)

    async def _connect_patiently(self) -> None:
        self.breaker.hurries = False
        await self._connect()

    async def _let_go_soon(self) -> None:
        self.breaker.hurries = True
        await self._let_go()

    @abc.abstractmethod
    async def _connect(self) -> None:
        """Connect, and create what is missing; where that is done, do nothing."""

    @abc.abstractmethod
    async def _let_go(self) -> None:
        """Finish what was accepted, then let go of the store; where that is done, do nothing."""

    @abc.abstractmethod
    def translate(self, error: BaseException) -> StoreError:
        """The client's error as OmniQ's user meets it.

        A connection that was lost becomes a `StoreUnavailableError` that says whether the call may have been sent.
        """

    async def call(self, operation: Callable[[], Awaitable[_T]], *, repeat: bool = False) -> _T:
        """Carry out an operation under the breaker (see `Breaker.call`), errors translated.

        Args:
            operation: Talks to the store.
            repeat: It may be carried out twice.

        Raises:
            StoreError: As translated, the original chained.
        """

        async def translated() -> _T:
            try:
                return await operation()
            except self.foreign_errors as error:
                raise self.translate(error) from error

        return await self.breaker.call(translated, repeat=repeat)
