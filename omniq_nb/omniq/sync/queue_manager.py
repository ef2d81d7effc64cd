# Generated from omniq/queue_manager.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.queue_manager` without ``await``."""

from __future__ import annotations

from ..models.task import Statuses
from ..queue_manager import QueueManager, QueueStats
from .twin import Twin


class SyncQueueManager(Twin[QueueManager]):
    """What can be said of and done with whole queues; an app has one, ``app.queues``.

    Args:
        open_stores: Gives the tasks and the events' store, opened if need be.
    """

    def names(self) -> list[str]:
        """Every queue that has tasks, or is paused."""
        return self._run(self._async.names())

    def stats(self, name: str, *, window: float = 300.0) -> QueueStats:
        """How a queue does; of one that has no tasks, zeros.

        Args:
            name: The queue.
            window: Seconds that throughput and durations look back.
        """
        return self._run(self._async.stats(name, window=window))

    def pause(self, name: str) -> None:
        """Have no worker take tasks from the queue; those that run go on."""
        self._run(self._async.pause(name))

    def resume(self, name: str) -> None:
        """Have workers take tasks from the queue again."""
        self._run(self._async.resume(name))

    def move(self, source: str, target: str) -> int:
        """Put the tasks that wait in one queue into another; says how many. Running tasks stay where they are."""
        return self._run(self._async.move(source, target))

    def purge(self, name: str, *, status: Statuses | None = None) -> int:
        """Delete tasks of a queue and their results; says how many tasks.

        Args:
            name: The queue.
            status: In this status or these (``"pending"`` empties a queue of what waits); unless given, all that have
                ended but the dead letters.

        Raises:
            OptionError: There is no such status, or running tasks were asked for: cancel them first.
        """
        return self._run(self._async.purge(name, status=status))
