"""The queues that are measured, one module each. They import their library only when they run."""

from __future__ import annotations

MODULES = {
    "omniq": "omniq_sqlite",
    "omniq-full": "omniq_sqlite",
    "omniq-closed": "omniq_sqlite",
    "omniq-idle": "omniq_sqlite",
    "omniq-memory": "omniq_kernel",
    "omniq-kernel": "omniq_kernel",
    "huey": "huey_sqlite",
    "huey-nosync": "huey_sqlite",
    "litequeue": "litequeue_sqlite",
    "persist-queue": "persistqueue_sqlite",
    "flexiq": "flexiq_sqlite",
    "threads": "threads",
    "dask": "dask_cluster",
    "ipyparallel": "ipyparallel_cluster",
}
"""The module of each contender, by its name in the tables."""
