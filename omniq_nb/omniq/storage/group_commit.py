"""Group commit: what is asked for while a store is busy goes out together, as soon as it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ..errors import StoreBusyError, StoreUnavailableError

_Request = TypeVar("_Request")
_Outcome = TypeVar("_Outcome")

_Group = list[tuple[_Request, "asyncio.Future[_Outcome]"]]
_Rest = Callable[[], Awaitable[Sequence[_Outcome]]]

_ANY_GROUP_FAILS = (StoreBusyError, StoreUnavailableError)


class GroupCommit(Generic[_Request, _Outcome]):
    """Requests of many callers, carried out in groups, one group after the other and each in the order of its requests.

    A request goes out whether or not its caller still waits for it. Where a group is refused as a whole, each of its
    requests is tried alone, so that one caller's bad value does not fail the others.

    Args:
        carry_out: Carries out a group, all of it or nothing; gives the outcome of each request.
        share: The part of the largest group that a request makes up.
        name: Of the task that does it.
        begin: Does the beginning of what ``carry_out`` does, without waiting for anything, and gives the rest.
        hurries: Whether a request, as long as they come one at a time, is to begin when it is asked for, a turn of the
            loop sooner than others.
    """

    def __init__(
        self,
        carry_out: Callable[[list[_Request]], Awaitable[Sequence[_Outcome]]],
        *,
        share: Callable[[_Request], float],
        name: str,
        begin: Callable[[list[_Request]], _Rest[_Outcome]] | None = None,
        hurries: Callable[[_Request], bool] = lambda _: True,
    ) -> None:
        self._carry_out = carry_out
        self._share = share
        self._name = name
        self._begin = begin
        self._hurries = hurries
        self._come_singly = True
        self._waiting: _Group[_Request, _Outcome] = []
        self._working: asyncio.Task[None] | None = None

    def submit(self, request: _Request) -> asyncio.Future[_Outcome]:
        """The outcome of a request, when it is there."""
        loop = asyncio.get_running_loop()
        if self._working is not None and self._working.done():
            # Its loop ended before its first step, and with it whoever had asked.
            self._waiting.clear()
            self._working = None
        future: asyncio.Future[_Outcome] = loop.create_future()
        self._waiting.append((request, future))
        if self._working is None:
            group, rest = self._begin_at_once(request)
            # What has not begun does so in the loop's next turn, with all that is asked for in this one.
            self._working = loop.create_task(self._work(group, rest), name=self._name)
        return future

    def _begin_at_once(self, request: _Request) -> tuple[_Group[_Request, _Outcome], _Rest[_Outcome] | None]:
        """Begin with a lone request, if that is wanted; gives it and the rest."""
        if self._begin is None or not self._come_singly or not self._hurries(request):
            return [], None
        group = self._next_group()
        return group, self._begin([request for request, _ in group])

    async def finish(self) -> None:
        """Wait until everything that was asked for is done."""
        while self._working is not None and not self._working.done():
            await asyncio.wait([self._working])

    async def _work(self, group: _Group[_Request, _Outcome], rest: _Rest[_Outcome] | None) -> None:
        """Carry out group after group; of the first one, if there is one, only the rest."""
        try:
            if rest is not None:
                await self._settle(group, rest)
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

    def _next_group(self) -> _Group[_Request, _Outcome]:
        taken, end = 0.0, 0
        for request, _ in self._waiting:
            taken += self._share(request)
            if end and taken > 1:
                break
            end += 1
        group, self._waiting = self._waiting[:end], self._waiting[end:]
        self._come_singly = len(group) == 1
        return group

    async def _settle(self, group: _Group[_Request, _Outcome], rest: _Rest[_Outcome] | None = None) -> None:
        try:
            outcomes = await (self._carry_out([request for request, _ in group]) if rest is None else rest())
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


def _fail(group: _Group[_Request, _Outcome], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
