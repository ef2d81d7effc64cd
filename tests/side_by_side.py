"""Which files run beside which: one that computes beside one that waits.

Two processes with tests have two cores, on a small machine. Some files need more than one of them: the conformance
suites, with their servers and racers. Others wait for most of their time: for leases to run out, for servers to come
back, for kernels and pages. Two of the first kind are in each other's way, and two of the second kind leave the machine
idle. So every other process takes its files from the one end of a list, and the rest from the other; what is short
remains for last, so that all end at the same time.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling

BUSY = (
    "conformance/test_azure.py",
    "conformance/test_s3.py",
    "stores/test_mixed_stores.py",
    "conformance/test_postgres.py",
    "stores/test_every_store.py",
    "conformance/test_gcs.py",
    "conformance/test_nats.py",
    "conformance/test_files.py",
    "conformance/test_redis.py",
    "backends/test_postgres.py",
    "conformance/test_sqlite.py",
    "sync/test_generated.py",
    "core/test_serialization.py",
    "conformance/test_memory.py",
)
"""Those that compute, the longest first."""
WAITING = (
    "bad_days/test_postgres.py",
    "stores/test_outages.py",
    "bad_days/test_buckets.py",
    "bad_days/test_redis.py",
    "bad_days/test_nats.py",
    "bad_days/test_late_workers.py",
    "bench/test_benchmarks.py",
    "browser/test_dashboard.py",
    "notebook/test_magics.py",
    "bad_days/test_objects.py",
    "notebook/test_life.py",
    "browser/test_quickstart.py",
    "browser/test_flood.py",
    "notebook/test_publisher.py",
    "workers/test_pool.py",
    "workers/test_leases.py",
    "workers/test_attempts.py",
    "app/test_lost_answers.py",
    "workers/test_cancel_and_timeout.py",
    "app/test_queues.py",
)
"""Those that wait: the most idle first, beside those that need most; then the longest."""
_PLACES = {
    f"tests/{file}": place
    for place, file in [*enumerate(BUSY, start=-len(BUSY)), *enumerate(reversed(WAITING), start=1)]
}


class SideBySide(LoadFileScheduling):
    """Gives whole files to processes, as each asks for one, from either end of the list."""

    def _assign_work_unit(self, node: Any) -> None:
        number = int(node.gateway.id.removeprefix("gw"))
        choose = max if number % 2 else min
        self.workqueue.move_to_end(choose(self.workqueue, key=lambda file: _PLACES.get(file, 0)), last=False)
        super()._assign_work_unit(node)
