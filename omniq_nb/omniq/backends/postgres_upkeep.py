"""What a PostgreSQL store needs from time to time, done beside the work by whoever works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import StoreError

logger = logging.getLogger("omniq")

_WRITES_PER_FOLD = 200
_CLAIMS_PER_VACUUM = 20_000
_VACUUM_SHARE = 0.1
"""Part of the time that vacuuming may take: with a large table it comes less often."""
_LONGEST_VACUUM = 3600.0


class Upkeep:
    """Folds the counters, and removes dead rows sooner than the server would by itself.

    A claim passes over the index entries of all tasks that were claimed before it and not yet vacuumed away. The server
    vacuums once a minute at best, in which time a few workers claim half a million.

    Args:
        schema: Quoted.
        execute: Executes a statement, given the seconds that it may take.
    """

    def __init__(self, schema: str, execute: Callable[..., Awaitable[Any]]) -> None:
        self._schema = schema
        self._execute = execute
        self._writes = self._claims = 0
        self._vacuum_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def wrote(self) -> None:
        """A batch was written."""
        self._writes += 1
        self._begin()

    def claimed(self, n: int) -> None:
        """So many records were claimed."""
        self._claims += n
        self._begin()

    async def stop(self) -> None:
        """Leave off; others will do it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> None:
        if self._task is None and (self._writes >= _WRITES_PER_FOLD or self._is_dirty()):
            self._task = asyncio.create_task(self._do())

    def _is_dirty(self) -> bool:
        return self._claims >= _CLAIMS_PER_VACUUM and asyncio.get_running_loop().time() >= self._vacuum_at

    async def _do(self) -> None:
        try:
            if self._writes >= _WRITES_PER_FOLD:
                self._writes = 0
                await self._execute(f"SELECT {self._schema}.fold()")
            if self._is_dirty():
                self._claims = 0
                await self._vacuum()
        except StoreError as error:
            logger.debug("the store is tidied up another time: %s", error)
        finally:
            self._task = None

    async def _vacuum(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        # Where another vacuum is under way this one is left out; so it is, with a warning, where the user is not the
        # tables' owner.
        tables = f"{self._schema}.records, {self._schema}.changes"
        await self._execute(f"VACUUM (SKIP_LOCKED, TRUNCATE false) {tables}", timeout=_LONGEST_VACUUM)
        ended = loop.time()
        self._vacuum_at = ended + (ended - began) / _VACUUM_SHARE
