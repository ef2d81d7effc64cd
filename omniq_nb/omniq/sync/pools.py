# Generated from omniq/pools.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.pools` without ``await``."""

from __future__ import annotations

from types import TracebackType

from ..pools import Workers
from .twin import Twin
from .worker_pool import SyncWorkerPool


class SyncWorkers(Twin[Workers]):
    """Workers that are about to run: ``with app.workers() as pool``, or ``pool = app.workers().start()``.

    Args:
        app: Whose tasks they run.
        kind: How they run them.
        concurrency: Tasks at a time.
        queues: In order of preference; ``None``: every queue.
    """

    def start(self) -> SyncWorkerPool:
        """Start them; the app stops them when it is closed, unless `SyncWorkerPool.stop` was called before."""
        return SyncWorkerPool(self._run(self._async.start()), self._home)

    def __enter__(self) -> SyncWorkerPool:
        return SyncWorkerPool(self._run(self._async.__aenter__()), self._home)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._run(self._async.__aexit__(kind, error, tb))
