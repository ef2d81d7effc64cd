"""Group commit: batches that are asked for while a call is under way go out together in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ..errors import StoreError, StoreUnavailableError
from .redis_codec import Batch

_OPS_PER_CALL = 5000
_BYTES_PER_CALL = 32_000_000
"""Callers' batches go together up to these bounds, so that no call holds the server up for long."""
_APPLIED = ord("1")

_Request = tuple[Batch, "asyncio.Future[list[bool]]"]


class Writer:
    """Sends batches, one call after the other.

    Args:
        send: Has some batches applied; gives the outcomes of all their operations, one byte each, and whether something
            may be claimable by them.
        written: Called with that.
    """

    def __init__(
        self, send: Callable[[Sequence[Batch]], Awaitable[tuple[bytes, bool]]], written: Callable[[bool], None]
    ) -> None:
        self._send = send
        self._written = written
        self._requests: list[_Request] = []
        self._sending: asyncio.Task[None] | None = None

    def request(self, batch: Batch) -> asyncio.Future[list[bool]]:
        """The outcomes of a batch, when they are there. It goes out even if nobody waits for them any more."""
        outcomes: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._requests.append((batch, outcomes))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="omniq-redis-writes")
        return outcomes

    async def finish(self) -> None:
        """Wait until everything that was asked for is done."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def _send_all(self) -> None:
        try:
            while self._requests:
                await self._carry_out(self._next_requests())
        except asyncio.CancelledError:
            for _, outcomes in self._requests:
                outcomes.cancel()
            raise
        finally:
            self._sending = None

    def _next_requests(self) -> list[_Request]:
        operations = size = end = 0
        for batch, _ in self._requests:
            operations += batch.operations
            size += batch.size
            if end and (operations > _OPS_PER_CALL or size > _BYTES_PER_CALL):
                break
            end += 1
        requests, self._requests = self._requests[:end], self._requests[end:]
        return requests

    async def _carry_out(self, requests: list[_Request]) -> None:
        try:
            said, claimable = await self._send([batch for batch, _ in requests])
        except asyncio.CancelledError:
            for _, outcomes in requests:
                outcomes.cancel()
            raise
        except Exception as error:  # noqa: BLE001 -- each caller gets it as his own exception
            refused = isinstance(error, StoreError) and not isinstance(error, StoreUnavailableError)
            if refused and len(requests) > 1:
                # Nothing was written. What one caller asked for must not fail the others.
                for each in requests:
                    await self._carry_out([each])
            else:
                for _, outcomes in requests:
                    if not outcomes.done():
                        outcomes.set_exception(error)
        else:
            self._resolve(requests, said)
            self._written(claimable)

    def _resolve(self, requests: list[_Request], said: bytes) -> None:
        start = 0
        for batch, outcomes in requests:
            end = start + batch.operations
            if not outcomes.done():  # else its caller was cancelled
                outcomes.set_result([each == _APPLIED for each in said[start:end]])
            start = end
