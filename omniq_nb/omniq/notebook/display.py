"""How OmniQ's objects show themselves: a live view where widgets can be had, HTML for a saved notebook, and text.

Nothing here raises: what can't be looked up is shown as far as it is known.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from ..errors import OmniQError
from ..health import Health
from ..models.result import TaskResult
from ..models.task import Task
from ..queue_manager import QueueStats, Stats
from . import html
from .briefly import with_parts, with_twin
from .model import Json
from .progress import Progress
from .store_name import store_name

Bundle = tuple[Json, Json]


def mimebundle(value: Any) -> Bundle:
    """What IPython shows of a value."""
    bundle: Json = {"text/plain": repr(value)}
    if not in_kernel():
        return bundle, {}
    show = _SHOWN.get(type(value).__name__)
    return (bundle, {}) if show is None else show(value, bundle)


def in_kernel() -> bool:
    """Whether this is a notebook's kernel: in a terminal, text is all there is."""
    interactive = sys.modules.get("IPython.core.getipython")
    shell = None if interactive is None else interactive.get_ipython()
    return getattr(shell, "kernel", None) is not None


def widgets_are_installed() -> bool:
    """Whether live views can be had at all."""
    return all(importlib.util.find_spec(name) is not None for name in ("anywidget", "ipywidgets"))


# --- handles and groups ---


def _handle(handle: Any, bundle: Json) -> Bundle:
    return _progress(handle, Progress([handle.id], f"{handle.func or 'task'} {handle.id[-6:]}"), bundle)


def _group(group: Any, bundle: Json) -> Bundle:
    ids = group.ids
    title = f"{len(ids):,} tasks" + (f" of {group.func}" if group.func else "")
    return _progress(group, Progress(ids, title), bundle)


def _progress(handle: Any, progress: Progress, bundle: Json) -> Bundle:
    if widgets_are_installed():
        from .boards import progress_board

        live = progress_board(handle, progress)._repr_mimebundle_()
        if live is not None:
            data, metadata = live
            return {**data, **bundle}, metadata
    try:
        found = with_parts(handle.app, lambda parts: progress.look(parts, also_ended=True))
        bundle["text/html"] = html.progress_html(found)
    except OmniQError as error:
        bundle["text/html"] = html.panel(html.error_block(str(error), None))
    return bundle, {}


# --- what was read before ---


def _task(task: Task, bundle: Json) -> Bundle:
    rows = [
        ("status", task.status.value),
        ("queue", task.queue),
        ("priority", task.priority),
        ("attempt", f"{task.attempt} of {task.max_retries + 1}"),
        ("enqueued", f"{task.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("due", None if task.status.is_final or task.run_at is None else f"{task.run_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("timeout", None if task.timeout is None else html.duration(task.timeout)),
        ("waits for", ", ".join(task.depends_on)),
        ("schedule", task.schedule_id),
        ("worker", task.worker),
        ("metadata", task.metadata),
    ]
    bundle["text/html"] = html.panel(
        html.title(task.func, task.id) + html.fields(rows) + html.error_block(task.error, None)
    )
    return bundle, {}


def _result(result: TaskResult, bundle: Json) -> Bundle:
    succeeded = result.error is None
    rows = [
        ("status", result.status.value),
        ("attempt", result.attempt),
        ("ran", None if result.duration is None else html.duration(result.duration)),
        ("worker", result.worker),
    ]
    error = None if succeeded else f"{result.error_type}: {result.error}"
    bundle["text/html"] = html.panel(
        html.title("Result of", result.task_id)
        + html.fields(rows)
        + (html.value(result.value) if succeeded and result.started_at is not None else "")
        + html.error_block(error, result.traceback)
    )
    return bundle, {}


def _stats(stats: Stats, bundle: Json) -> Bundle:
    workers = [
        (each.id, each.type, f"{each.running} of {each.concurrency}", ", ".join(each.queues) or "all")
        for each in stats.workers
    ]
    bundle["text/html"] = html.panel(
        html.queue_table(stats.queues, stats.paused)
        + html.table(("worker", "type", "busy", "queues"), workers, empty="no workers")
    )
    return bundle, {}


def _queue(queue: QueueStats, bundle: Json) -> Bundle:
    counts = {status.value: n for status, n in queue.counts.items()}
    rows = [
        ("oldest that waits", None if queue.oldest is None else f"{queue.oldest.astimezone():%Y-%m-%d %H:%M:%S}"),
        (f"ended in {html.duration(queue.window)}", queue.ended),
        ("failed for good", queue.failed),
        ("ran on average", None if queue.mean_duration is None else html.duration(queue.mean_duration)),
    ]
    paused = {queue.name} if queue.paused else set()
    bundle["text/html"] = html.panel(html.queue_table({queue.name: counts}, paused) + html.fields(rows))
    return bundle, {}


def _health(health: Health, bundle: Json) -> Bundle:
    rows = [
        (each.component, each.store, each.error or ("" if each.latency is None else html.duration(each.latency)))
        for each in health.components
    ] + [("", "", problem) for problem in health.problems]
    bundle["text/html"] = html.panel(html.table(("component", "store", "answer"), rows))
    return bundle, {}


# --- the app ---


def _app(app: Any, bundle: Json) -> Bundle:
    state = "open" if app.is_open else "closed" if app.is_closed else "opens when it is first used"
    content = html.title("OmniQ", f"{store_name(app.config)} · {state}")
    if app.is_open:
        try:
            stats = with_twin(app, lambda twin: twin.stats())
            content += html.queue_table(stats.queues, stats.paused)
        except OmniQError as error:
            content += html.error_block(str(error), None)
    bundle["text/html"] = html.panel(content)
    return bundle, {}


_SHOWN: dict[str, Callable[[Any, Json], Bundle]] = {
    "TaskHandle": _handle,
    "GroupHandle": _group,
    "Task": _task,
    "TaskResult": _result,
    "Stats": _stats,
    "QueueStats": _queue,
    "Health": _health,
    "AsyncOmniQ": _app,
}
