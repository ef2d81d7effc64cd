"""What a store has handed over to claimers that wait, until they fetch it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..models.record import Record


class HandedOver:
    """Records for each owner. `add` may be called from any thread."""

    def __init__(self) -> None:
        self._of: dict[str, deque[Record]] = {}

    def await_for(self, owner: str) -> None:
        """Keep what comes for this owner, from now on."""
        self._of.setdefault(owner, deque())

    def awaits(self, owner: str) -> bool:
        """Whether what comes for this owner is kept."""
        return owner in self._of

    def add(self, owner: str, records: Sequence[Record]) -> None:
        """Keep records for an owner who waits; those for others are not this driver's."""
        if (waiting := self._of.get(owner)) is not None:
            waiting.extend(records)

    def take(self, owner: str, limit: int) -> list[Record]:
        """Up to so many of an owner's records, the earliest first."""
        waiting = self._of.get(owner)
        return [waiting.popleft() for _ in range(min(limit, len(waiting)))] if waiting else []
