"""Exceptions as text: what a task raised never travels as an object, so any exception can."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

from .models.result import ErrorInfo

_LONGEST = 64_000
_STANDARD = Path(sysconfig.get_path("stdlib"))
# What runs a task, as the first part of a frame's file name.
_RUNNERS = tuple(f"{path}{os.sep}" for path in (Path(__file__).parent, _STANDARD / "asyncio", _STANDARD / "concurrent"))


def describe_error(error: BaseException) -> ErrorInfo:
    """An exception as texts of bounded size; never raises, whatever the exception's methods do."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return ErrorInfo(name, _bounded(_message(error)), _bounded(_formatted(error)))


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001 -- a broken __str__ may raise anything, SystemExit too
        return f"<its __str__ raised {type(broken).__name__}>"


def _formatted(error: BaseException) -> str:
    try:
        report = traceback.TracebackException.from_exception(error, compact=True)
        _strip_own_frames(report)
        return "".join(report.format())
    except BaseException as broken:  # noqa: BLE001 -- a broken __str__ may raise anything, SystemExit too
        return f"<no traceback: formatting it raised {type(broken).__name__}>\n"


def _strip_own_frames(report: traceback.TracebackException) -> None:
    """Drop the frames of what runs the task, which come before the task's own."""
    waiting = [report]
    while waiting:
        report = waiting.pop()
        own = 0
        while own < len(report.stack) and report.stack[own].filename.startswith(_RUNNERS):
            own += 1
        if own < len(report.stack):
            del report.stack[:own]
        others = (report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or ()))
        waiting.extend(other for other in others if other is not None)


def _bounded(text: str) -> str:
    # Lone surrogates are no text that a store could keep.
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"
