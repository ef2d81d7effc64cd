"""Pictures of the views for a saved notebook: plain HTML, readable without its few inline styles, no scripts.

GitHub takes styles away and shows the tables; nbviewer keeps them. Light and dark pages both bear the colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from .model import STATUSES, Json

COLOURS = {
    "succeeded": "#2f9e68",
    "failed": "#d9534f",
    "expired": "#c77d1e",
    "cancelled": "#8b94a3",
    "skipped": "#8b94a3",
    "running": "#4a7fe8",
    "pending": "#c3c9d2",
    "blocked": "#a183d6",
}
"""In the order in which a bar fills."""

_FONT = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5"
_CELL = "text-align:left;padding:2px 12px 2px 0"
_NUMBER = "text-align:right;padding:2px 12px 2px 0;font-variant-numeric:tabular-nums"
_MUTED = "opacity:.65"
_TASKS_SHOWN = 10
_LONGEST = 160


def view_html(view: str, model: Json) -> str:
    """A view as it was when it was displayed."""
    if not model:
        return panel(f"<b>OmniQ {escape(view)}</b> <span style='{_MUTED}'>had nothing to show yet</span>")
    picture, needed = _VIEWS[view]
    return picture(model) if needed in model else panel(_head(model))


def progress_html(progress: Json) -> str:
    """How far a task or a group has come."""
    counts, total = progress["counts"], progress["total"]
    done = sum(n for status, n in counts.items() if status not in ("blocked", "pending", "running"))
    parts = [f"{counts[status]:,} {status}" for status in COLOURS if counts[status]]
    head = f"<b>{escape(progress['title'])}</b>"
    if total == 1:
        head += f" <span>{escape(parts[0].removeprefix('1 '))}</span>"
    else:
        share = f" · {done * 100 // total}%" if total else ""
        head += f" <span>{done:,} of {total:,}{share}</span>"
    took = _took(progress)
    details = " · ".join(([] if total == 1 else parts) + ([took] if took else []))
    return panel(
        f"<div>{head}</div>{_bar(counts, total)}"
        f"<div style='{_MUTED}'>{escape(details)}</div>{_error(progress['error'], progress['traceback'])}"
    )


def _took(progress: Json) -> str:
    started, finished = progress["started_at"], progress["finished_at"]
    return "" if started is None or finished is None else f"took {duration(max(0.0, finished - started) / 1000)}"


def _bar(counts: Mapping[str, int], total: int) -> str:
    pieces = "".join(
        f"<div style='width:{counts[status] * 100 / total:.2f}%;background:{colour}'></div>"
        for status, colour in COLOURS.items()
        if total and counts[status]
    )
    style = "display:flex;height:8px;max-width:480px;border-radius:4px;overflow:hidden;background:#c3c9d2;margin:4px 0"
    return f"<div style='{style}'>{pieces}</div>"


def _error(error: str | None, traceback: str | None) -> str:
    line = f"<div style='color:{COLOURS['failed']}'>{escape(error)}</div>" if error else ""
    if not traceback:
        return line
    text = f"<pre style='font-size:12px;overflow:auto'>{escape(traceback)}</pre>"
    return f"{line}<details><summary>Traceback</summary>{text}</details>"


# --- boards ---


def _dashboard(model: Json) -> str:
    return panel(_head(model) + _queues(model) + _workers(model) + _tasks(model))


def _queue_board(model: Json) -> str:
    return panel(_head(model) + _queues(model))


def _schedule_board(model: Json) -> str:
    rows = [
        (each["func"], each["when"], each["status"], moment(each["next_at"]), each["runs"])
        for each in model["schedules"]
    ]
    return panel(_head(model) + table(("schedule", "when", "status", "next", "runs"), rows, empty="no schedules"))


def _event_timeline(model: Json) -> str:
    newest = sorted(model["events"], key=lambda event: event["ts"], reverse=True)[:_TASKS_SHOWN]
    rows = [
        (moment(each["ts"]), each["event_type"], each["func"], each["queue"], _seconds(each["duration"]))
        for each in newest
    ]
    return panel(_head(model) + table(("time (UTC)", "event", "task", "queue", "ran"), rows, empty="no events"))


def _progress(model: Json) -> str:
    return progress_html(model["progress"])


_VIEWS = {
    "dashboard": (_dashboard, "totals"),
    "queues": (_queue_board, "totals"),
    "schedules": (_schedule_board, "schedules"),
    "events": (_event_timeline, "events"),
    "progress": (_progress, "progress"),
}
"""How each view is drawn, and without which part of the model it can't be."""


def _head(model: Json) -> str:
    app = model["app"]
    if "totals" not in model:
        return f"<div><b>OmniQ</b> {escape(app['store'])}</div>{_error(app['error'], None)}"
    tasks = sum(model["totals"].values())
    note = f"as of {moment(model['now'])} UTC"
    return (
        f"<div><b>OmniQ</b> {escape(app['store'])} · {tasks:,} tasks <span style='{_MUTED}'>{note}</span></div>"
        f"{_error(app['error'], None)}"
    )


def _queues(model: Json) -> str:
    queues = model.get("queues", [])
    return queue_table(
        {each["name"]: each["counts"] for each in queues}, [each["name"] for each in queues if each["paused"]]
    )


def queue_table(queues: Mapping[str, Mapping[str, int]], paused: Iterable[str]) -> str:
    """Tasks in each status, a row for each queue."""
    stopped = frozenset(paused)
    shown = [status for status in STATUSES if any(counts.get(status) for counts in queues.values())]
    rows = [
        (f"{name} (paused)" if name in stopped else name, *(counts.get(status, 0) for status in shown))
        for name, counts in queues.items()
    ]
    return table(("queue", *shown), rows, empty="no queue has tasks yet")


def _workers(model: Json) -> str:
    rows = [
        (each["id"], each["type"], f"{each['running']} of {each['concurrency']}", ", ".join(each["queues"]) or "all")
        for each in model.get("workers", [])
    ]
    return table(("worker", "type", "busy", "queues"), rows, empty="no workers")


def _tasks(model: Json) -> str:
    newest = model.get("tasks", {"rows": []})["rows"][:_TASKS_SHOWN]
    rows = [
        (each["func"], each["status"], each["queue"], each["attempt"], moment(each["created_at"]), each["error"] or "")
        for each in newest
    ]
    head = ("newest tasks", "status", "queue", "attempt", "enqueued (UTC)", "error")
    return table(head, rows) if rows else ""


# --- pieces ---


def panel(content: str) -> str:
    """What a picture is wrapped in."""
    return f"<div style='{_FONT}'>{content}</div>"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = "") -> str:
    """A table; ``empty``: what is said instead if it has no rows."""
    if not rows:
        return f"<div style='{_MUTED}'>{escape(empty)}</div>"
    numbers = [all(isinstance(row[column], int) for row in rows) for column in range(len(head))]
    top = "".join(
        f"<th style='{_NUMBER if number else _CELL}'>{escape(name)}</th>"
        for name, number in zip(head, numbers, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(_cell(value, number=number) for value, number in zip(row, numbers, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table style='margin:6px 0'><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def fields(rows: Iterable[tuple[str, Any]]) -> str:
    """Names and values, those that are there."""
    lines = "".join(
        f"<tr><th style='{_CELL}'>{escape(name)}</th>{_cell(value)}</tr>"
        for name, value in rows
        if value not in (None, "", (), {})
    )
    return f"<table><tbody>{lines}</tbody></table>"


def _cell(value: Any, *, number: bool = False) -> str:
    if number:
        return f"<td style='{_NUMBER}'>{value:,}</td>"
    text = str(value)
    colour = f";color:{COLOURS[text]}" if text in COLOURS and text not in ("pending", "blocked") else ""
    return f"<td style='{_CELL}{colour}'>{escape(text if len(text) <= _LONGEST else text[:_LONGEST] + '…')}</td>"


def title(name: str, what: str) -> str:
    """The first line of a picture."""
    return f"<div><b>{escape(name)}</b> <span style='{_MUTED}'>{escape(what)}</span></div>"


def value(result: Any) -> str:
    """A task's result: as it shows itself, or else as Python writes it."""
    own = getattr(result, "_repr_html_", None)
    shown = own() if callable(own) else None
    return shown if isinstance(shown, str) else f"<pre style='margin:4px 0'>{escape(repr(result))}</pre>"


def error_block(error: str | None, traceback: str | None) -> str:
    """What went wrong, and where."""
    return _error(error, traceback)


def moment(value: float | None) -> str:
    """A moment in milliseconds, in UTC: a saved picture is read anywhere."""
    return "" if value is None else f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _seconds(value: float | None) -> str:
    return "" if value is None else duration(value)
