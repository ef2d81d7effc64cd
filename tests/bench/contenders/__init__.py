"""The queues that are measured, one module for each library. They import it only when they run."""

from __future__ import annotations

from typing import NamedTuple


class Listed(NamedTuple):
    """A contender.

    Attributes:
        module: Its module here.
        kind: Where its tasks lie; for kinds with a server see `harness.hosts`.
    """

    module: str
    kind: str = "sqlite"


CONTENDERS = {
    "omniq": Listed("omniq_queue"),
    "omniq-full": Listed("omniq_queue"),
    "omniq-closed": Listed("omniq_queue"),
    "omniq-idle": Listed("omniq_queue"),
    "omniq-redis": Listed("omniq_queue", "redis"),
    "omniq-postgres": Listed("omniq_queue", "postgres"),
    "omniq-nats": Listed("omniq_queue", "nats"),
    "omniq-files": Listed("omniq_queue", "files"),
    "omniq-memory": Listed("omniq_kernel", "memory"),
    "omniq-kernel": Listed("omniq_kernel"),
    "huey": Listed("huey_queue"),
    "huey-nosync": Listed("huey_queue"),
    "huey-redis": Listed("huey_queue", "redis"),
    "huey-files": Listed("huey_queue", "files"),
    "litequeue": Listed("litequeue_sqlite"),
    "persist-queue": Listed("persistqueue_sqlite"),
    "flexiq": Listed("flexiq_queue"),
    "flexiq-redis": Listed("flexiq_queue", "redis"),
    "saq-redis": Listed("saq_queue", "redis"),
    "saq-postgres": Listed("saq_queue", "postgres"),
    "pgqueuer": Listed("pgqueuer_postgres", "postgres"),
    "faststream": Listed("faststream_nats", "nats"),
    "taskiq-nats": Listed("taskiq_nats", "nats"),
    "threads": Listed("threads", "memory"),
    "dask": Listed("dask_cluster", "memory"),
    "ipyparallel": Listed("ipyparallel_cluster", "memory"),
}
"""By their names in the tables."""
