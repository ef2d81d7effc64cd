"""One view as its publisher knows it: what it wants to hear, what it was told, where it stands in the list of tasks."""

from __future__ import annotations

import time
from typing import Protocol

from .model import Json
from .pager import Pager
from .progress import Progress

NEEDS: dict[str, frozenset[str]] = {
    "dashboard": frozenset({"totals", "queues", "workers", "throughput"}),
    "queues": frozenset({"totals", "queues"}),
    "schedules": frozenset({"totals", "schedules"}),
    "events": frozenset({"totals", "events"}),
    "progress": frozenset(),
}
"""The shared parts of the model that a view shows, besides ``app``."""

SIGN_OF_LIFE = 4.0
"""After so many seconds of silence the page is told that somebody is here."""
_STATE_EVERY = 1.0
_LISTS_EVERY = 0.25
_LISTS = frozenset({"tasks", "events"})
_FLEETING = frozenset({"throughput"})
"""What changes all the time, and is not worth renewing what a reload finds."""


class Sink(Protocol):
    """Where a board's messages go: a widget, or a test's list."""

    @property
    def is_closed(self) -> bool:
        """Whether nobody can be told any more."""

    def tell(self, message: Json) -> None:
        """Send a message to the page."""

    def keep(self, state: Json) -> None:
        """Set what a reload of the page finds."""


class Board:
    """One view. Its publisher's thread alone updates it.

    Args:
        view: Which one.
        sink: Where its messages go.
        progress: The tasks that a progress view watches.
    """

    def __init__(self, view: str, sink: Sink, progress: Progress | None = None) -> None:
        self.view = view
        self.sink = sink
        self.progress = progress
        self.pager = Pager()
        self.model: Json = {}
        self._seq = 0
        self._told_at = self._kept_at = self._listed_at = 0.0
        self._kept_is_old = False

    @property
    def needs(self) -> frozenset[str]:
        """The shared parts of the model that it shows."""
        return NEEDS[self.view]

    @property
    def is_resting(self) -> bool:
        """Whether nothing more will happen by itself to what it shows."""
        return self.progress is not None and self.progress.is_settled

    @property
    def wants_list(self) -> bool:
        """Whether it is time to renew its lists: nobody reads rows faster."""
        return time.monotonic() - self._listed_at >= _LISTS_EVERY

    def update(self, found: Json, *, everything: bool = False) -> None:
        """Tell the page what has changed.

        Args:
            found: Parts of the model as they are now.
            everything: Also what has not changed; somebody asked.
        """
        now = time.monotonic()
        changed = {key: value for key, value in found.items() if self.model.get(key) != value}
        self.model = {**self.model, **found, "now": time.time() * 1000}
        if _LISTS & found.keys():
            self._listed_at = now
        silent = now - self._told_at >= SIGN_OF_LIFE and not self.is_resting
        if changed or everything or silent:
            patch = self.model if everything else {**changed, "now": self.model["now"]}
            self._seq += 1
            self.sink.tell({"type": "update", "seq": self._seq, "patch": patch})
            self._told_at = now
        self._kept_is_old = self._kept_is_old or bool(changed.keys() - _FLEETING)
        if self._kept_is_old and (now - self._kept_at >= _STATE_EVERY or self.is_resting or "app" in changed):
            self.keep()

    def keep(self) -> None:
        """Renew what a reload of the page finds."""
        self.sink.keep(dict(self.model))
        self._kept_at = time.monotonic()
        self._kept_is_old = False

    def reply(self, command: Json, result: object = None, *, error: str | None = None) -> None:
        """Answer a command."""
        outcome = {"ok": True, "result": result} if error is None else {"ok": False, "error": error}
        self.sink.tell({"type": "reply", "id": command.get("id", ""), **outcome})
