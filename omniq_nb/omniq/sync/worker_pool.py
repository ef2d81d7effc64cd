# Generated from omniq/workers/pool.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.workers.pool` without ``await``."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ..models.worker import WorkerType
from ..workers.pool import GRACE_SECONDS, WorkerPool
from .twin import Twin


class SyncWorkerPool(Twin[WorkerPool]):
    """Runs tasks, at most ``concurrency`` at a time, in the background.

    Args:
        queue: Where tasks come from.
        functions: Finds their functions.
        serializer: Reads arguments, writes values.
        stores: For the heartbeat's thread.
        kind: How tasks are run.
        concurrency: How many at a time.
        queues: In order of preference; ``None``: every queue.
        settings: Lease, heartbeat and poll interval.
        large: Where large arguments and results are, if they have a store of their own.
    """

    @property
    def id(self) -> str:
        return self._async.id

    @property
    def kind(self) -> WorkerType:
        return self._async.kind

    @property
    def concurrency(self) -> int:
        return self._async.concurrency

    @property
    def queues(self) -> list[str] | None:
        return self._async.queues

    def start(self) -> None:
        """Begin to take tasks."""
        self._run(self._async.start())

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Take no more tasks, let those that run end, and hand back what has not ended after ``grace`` seconds.

        What came of tasks and can't be written by then, since the store is away, is lost: they run again. For a store
        that does not answer it waits some seconds longer.

        What was begun goes on when the call is interrupted, and hands back at once then.
        """
        self._run(self._async.stop(grace))

    def drain(self, *, delayed: bool = False) -> None:
        """Wait until nothing is left to do: no task of these queues is due or runs, here or at any other worker.

        Args:
            delayed: Wait for those that become due later too, retries among them.
        """
        self._run(self._async.drain(delayed=delayed))

    @property
    def abandoned(self) -> int:
        """Threads that still run what was cancelled or handed back."""
        return self._async.abandoned

    def __enter__(self) -> Self:
        self._run(self._async.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._run(self._async.__aexit__(kind, error, tb))
