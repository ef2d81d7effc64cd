"""A store that is away is one line in the log, and one more when it is back."""

from __future__ import annotations

import logging
import time

from ..errors import StoreError

logger = logging.getLogger("omniq")


class Outage:
    """What a worker says while it can't reach its store. Any thread may call it.

    Args:
        worker: The worker's name.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._since = 0.0
        self._failing: set[str] = set()

    def failed(self, what: str, error: Exception) -> None:
        """Something did not work and is tried again."""
        if not isinstance(error, StoreError):
            # A store's error says all in its line; of another one the place matters.
            logger.error("worker %s can't %s and tries again: %s", self._worker, what, error, exc_info=error)
            return
        if not self._failing:
            self._since = time.monotonic()
            logger.error("worker %s can't %s and tries until it can: %s", self._worker, what, error)
        self._failing.add(what)

    def worked(self, what: str) -> None:
        """Something that may have failed before worked."""
        if what in self._failing:
            self._failing.discard(what)
            if not self._failing:
                away = time.monotonic() - self._since
                logger.info("worker %s goes on: its store is back after %.1f s", self._worker, away)
