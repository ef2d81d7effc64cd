"""Starting and stopping an app's workers."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from .errors import OptionError
from .models.worker import WorkerType

if TYPE_CHECKING:
    from .app import AsyncOmniQ
    from .config import Config
    from .parts import Parts
    from .workers.pool import WorkerPool


def make_pool(
    parts: Parts, config: Config, kind: WorkerType, concurrency: int, queues: Sequence[str] | None
) -> WorkerPool:
    """A worker pool over an app's open parts, not started."""
    from .workers.heartbeat import Stores
    from .workers.pool import PoolSettings, WorkerPool

    return WorkerPool(
        parts.queue,
        parts.functions,
        parts.serializer,
        Stores(parts.queue.driver, parts.results.driver, parts.events.driver, parts.large, config.event_retention),
        kind=kind,
        concurrency=concurrency,
        queues=queues,
        settings=PoolSettings(
            lease=config.lease, heartbeat=config.heartbeat_seconds, poll_interval=config.poll_interval
        ),
        large=parts.large,
    )


class Workers:
    """Workers that are about to run: ``async with app.workers() as pool``, or ``pool = await app.workers().start()``.

    Args:
        app: Whose tasks they run.
        kind: How they run them.
        concurrency: Tasks at a time.
        queues: In order of preference; ``None``: every queue.
    """

    def __init__(self, app: AsyncOmniQ, kind: WorkerType | str, concurrency: int, queues: Sequence[str] | None) -> None:
        try:
            self._kind = WorkerType(kind)
        except ValueError as error:
            raise OptionError(
                f"no worker type {kind!r}: the types are {', '.join(repr(each.value) for each in WorkerType)}"
            ) from error
        self._app = app
        self._concurrency = concurrency
        self._queues = queues
        self._pool: WorkerPool | None = None

    async def start(self) -> WorkerPool:
        """Start them; the app stops them when it is closed, unless `WorkerPool.stop` was called before."""
        self._pool = await self._app.make_pool(self._kind, self._concurrency, self._queues)
        await self._pool.start()
        return self._pool

    async def __aenter__(self) -> WorkerPool:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.__aexit__(kind, error, tb)
            self._app.forget_pool(self._pool)
