"""How many tasks ended in each of the last seconds, told by how the counts grew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .model import Json

STEPS = 60
_DONE, _FAILED = "succeeded", "failed"


class Throughput:
    """A window of one-second steps. Purged tasks and retried failures make counts smaller: that is no throughput."""

    def __init__(self) -> None:
        self._steps: dict[int, list[int]] = {}
        self._last: tuple[int, int] | None = None

    def remember(self, second: int, *, finished: int = 0, failed: int = 0) -> None:
        """Add tasks that ended in a second."""
        step = self._steps.setdefault(second, [0, 0])
        step[0] += finished
        step[1] += failed

    def replay(self, ended: Iterable[tuple[int, str]]) -> None:
        """Fill the window with what happened before: moments in microseconds, and event types."""
        for ts, event_type in ended:
            succeeded = event_type == "task.succeeded"
            self.remember(ts // 1_000_000, finished=int(succeeded), failed=int(not succeeded))

    def count(self, totals: Mapping[str, int], now: float) -> None:
        """Note the counts as they are at a moment, in seconds."""
        finished, failed = totals.get(_DONE, 0), totals.get(_FAILED, 0)
        if self._last is not None:
            grown = max(0, finished - self._last[0]), max(0, failed - self._last[1])
            if any(grown):
                self.remember(int(now), finished=grown[0], failed=grown[1])
        self._last = finished, failed

    def series(self, now: float) -> Json:
        """The steps that are complete, oldest first."""
        end = int(now)
        for second in [second for second in self._steps if second < end - STEPS]:
            del self._steps[second]
        steps = [self._steps.get(second, (0, 0)) for second in range(end - STEPS, end)]
        # While nothing happens, the window need not move, and the page need not be told.
        quiet = not self._steps
        return {
            "step": 1,
            "end": 0 if quiet else end * 1000,
            "finished": [step[0] for step in steps],
            "failed": [step[1] for step in steps],
        }
