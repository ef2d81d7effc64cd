"""Queue, results and events each on another store, and workers that die between any two of a settlement's writes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ, TaskStatus
from omniq.models.record import Filter
from omniq.models.result import RESULT

from .conftest import SECRET, URLS

CRASHING_WORKER = Path(__file__).parent / "support" / "crashing_worker.py"
DIED = 9

# Queue, results, events: every store in every role.
MIXED = [
    ("sqlite", "file", "redis"),
    ("sqlite", "postgres", "nats"),
    ("sqlite", "redis", "sqlite"),
    ("file", "redis", "file"),
    ("file", "nats", "sqlite"),
    ("redis", "sqlite", "redis"),
    ("redis", "postgres", "postgres"),
    ("redis", "nats", "file"),
    ("postgres", "file", "sqlite"),
    ("postgres", "redis", "postgres"),
    ("postgres", "nats", "redis"),
    ("nats", "sqlite", "file"),
    ("nats", "postgres", "nats"),
    ("postgres", "s3", "google"),
    ("google", "azure", "s3"),
    # One store for tasks and results, another one for events.
    ("redis", "redis", "sqlite"),
]


@pytest.mark.parametrize("names", MIXED, ids="-".join)
async def test_workers_that_die_between_two_writes_lose_nothing(
    names: tuple[str, str, str], make_app: Any, children: Any, tmp_path: Path
) -> None:
    urls: dict[str, str] = {}
    for name in names:
        urls.setdefault(name, URLS[name](tmp_path))
    queue, results, events = (urls[name] for name in names)
    stores = {"queue": queue, "results": results, "events": events, "schedules": queue}
    app: AsyncOmniQ = make_app(None, lease=1, secret=SECRET, **stores)

    @app.task
    def double(n: int) -> int:
        return 2 * n

    group = await double.map(range(8))
    variables = {f"OMNIQ_{name.upper()}": url for name, url in stores.items()} | {"OMNIQ_LEASE": "1"}
    doomed = [children.python(str(CRASHING_WORKER), str(point), **variables) for point in range(4)]
    for child in doomed:
        assert await asyncio.to_thread(child.wait, 60) == DIED

    async with app.workers():
        assert await group == [2 * n for n in range(8)]
    assert (await app.stats()).totals == {"succeeded": 8}
    tasks = (await app.list_tasks(status=TaskStatus.SUCCEEDED)).tasks
    parts = await app._ready()
    named = await parts.results.driver.get([(RESULT, f"{task.id}.{task.attempt}") for task in tasks])
    assert None not in named, "a task names a result that is not there"
    # Two of the four died before a task was written; each may have held a second one too.
    assert sum(task.attempt > 1 for task in tasks) >= 2
    # An event may be lost with the worker that was about to write it, but none is made up.
    succeeded = (await app.events(types="task.succeeded"))["task_id"].to_list()
    assert len(succeeded) == len(set(succeeded)) >= 7

    assert await app.purge() == 8
    assert (await parts.results.driver.scan(Filter(kind=RESULT))).records == [], "a result was left behind"


async def test_components_say_where_they_are(make_app: Any, tmp_path: Path) -> None:
    app: AsyncOmniQ = make_app(
        None,
        secret=SECRET,
        **{
            name: URLS[store](tmp_path)
            for name, store in zip(
                ("queue", "results", "events", "schedules"), ("redis", "postgres", "file", "nats"), strict=True
            )
        },
    )
    health = await app.health()
    assert health.ok, health
    assert [each.backend for each in health.components] == ["Redis", "PostgreSQL", "Files", "NATS JetStream"]
