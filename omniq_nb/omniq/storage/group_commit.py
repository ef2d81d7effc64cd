"""Group commit: what is asked for while a store is busy goes out together, as soon as it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ..errors import StoreBusyError, StoreUnavailableError

_Request = TypeVar("_Request")
_Outcome = TypeVar("_Outcome")

_ANY_GROUP_FAILS = (StoreBusyError, StoreUnavailableError)


class GroupCommit(Generic[_Request, _Outcome]):
    """Requests of many callers, carried out in groups, one group after the other and each in the order of its requests.

    A group goes out whole, whether or not all of its callers still wait. Where it is refused as a whole, each of its
    requests is tried alone, so that one caller's bad value does not fail the others.

    Args:
        carry_out: Carries out a group, all of it or nothing; gives the outcome of each request.
        share: The part of the largest group that a request makes up.
        name: Of the task that does it.
    """

    def __init__(
        self,
        carry_out: Callable[[list[_Request]], Awaitable[Sequence[_Outcome]]],
        *,
        share: Callable[[_Request], float],
        name: str,
    ) -> None:
        self._carry_out = carry_out
        self._share = share
        self._name = name
        self._waiting: list[tuple[_Request, asyncio.Future[_Outcome]]] = []
        self._working: asyncio.Task[None] | None = None
        # What is under way in its caller's own task, and whether requests come one at a time.
        self._alone: asyncio.Future[None] | None = None
        self._come_singly = True

    @property
    def is_free(self) -> bool:
        """Whether requests come one at a time, and none is under way: then `carry_out` is sooner than `submit`."""
        return self._working is None and self._alone is None and self._come_singly

    async def carry_out(self, request: _Request) -> _Outcome:
        """Carry a request out in the caller's own task: it waits neither for the loop's next turn, nor for the one
        after the answer. To be awaited at once, where all `is_free`.

        It is for stores that carry out what was sent to them even if the caller is cancelled.
        """
        assert self.is_free
        loop = asyncio.get_running_loop()
        alone = self._alone = loop.create_future()
        try:
            (outcome,) = await self._carry_out([request])
        finally:
            self._alone = None
            alone.cancel()
            self._go_on(loop)
        return outcome

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Carry out what was asked for meanwhile; not where all who asked were cancelled, perhaps as the loop ends."""
        if all(future.done() for _, future in self._waiting):
            self._waiting.clear()
        else:
            self._working = loop.create_task(self._work(), name=self._name)

    def submit(self, request: _Request) -> asyncio.Future[_Outcome]:
        """The outcome of a request, when it is there."""
        loop = asyncio.get_running_loop()
        if self._working is not None and self._working.done():
            # Its loop ended before its first step, and with it whoever had asked.
            self._waiting.clear()
            self._working = None
        future: asyncio.Future[_Outcome] = loop.create_future()
        self._waiting.append((request, future))
        if self._working is None and self._alone is None:
            # It begins in the loop's next turn, with all that is asked for in this one.
            self._working = loop.create_task(self._work(), name=self._name)
        return future

    async def finish(self) -> None:
        """Wait until everything that was asked for is done."""
        while under_way := [each for each in (self._alone, self._working) if each is not None and not each.done()]:
            await asyncio.wait(under_way)

    async def _work(self) -> None:
        group: list[tuple[_Request, asyncio.Future[_Outcome]]] = []
        try:
            while self._waiting:
                group = self._next_group()
                await self._settle(group)
        except asyncio.CancelledError:
            for _, future in (*group, *self._waiting):
                future.cancel()
            self._waiting.clear()
            raise
        finally:
            self._working = None

    def _next_group(self) -> list[tuple[_Request, asyncio.Future[_Outcome]]]:
        taken, end = 0.0, 0
        for request, _ in self._waiting:
            taken += self._share(request)
            if end and taken > 1:
                break
            end += 1
        group, self._waiting = self._waiting[:end], self._waiting[end:]
        self._come_singly = len(group) == 1
        return group

    async def _settle(self, group: list[tuple[_Request, asyncio.Future[_Outcome]]]) -> None:
        try:
            outcomes = await self._carry_out([request for request, _ in group])
        except Exception as error:  # noqa: BLE001 -- each caller gets it as his own exception
            if len(group) == 1 or isinstance(error, _ANY_GROUP_FAILS):
                _fail(group, error)
            else:
                for each in group:
                    await self._settle([each])
        else:
            for (_, future), outcome in zip(group, outcomes, strict=True):
                if not future.done():  # else its caller was cancelled
                    future.set_result(outcome)


def _fail(group: list[tuple[_Request, asyncio.Future[_Outcome]]], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
