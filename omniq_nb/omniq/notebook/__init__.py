"""OmniQ in a notebook: magics, live views, displays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from ..app import AsyncOmniQ
    from .widget import BoardWidget

__all__ = ["dashboard", "event_timeline", "queue_board", "schedule_board"]


def dashboard(app: AsyncOmniQ | None = None, *, theme: str = "auto") -> BoardWidget:
    """A live view of queues, workers, throughput and tasks. It moves, and its buttons work, while a cell is busy.

    Args:
        app: Whose; the current one's unless given.
        theme: ``"light"``, ``"dark"``, or ``"auto"``: as the notebook.
    """
    return _board("dashboard", app, theme)


def queue_board(app: AsyncOmniQ | None = None, *, theme: str = "auto") -> BoardWidget:
    """A live view of the queues, with buttons that pause and resume them; see `dashboard`."""
    return _board("queues", app, theme)


def event_timeline(app: AsyncOmniQ | None = None, *, theme: str = "auto") -> BoardWidget:
    """A live view of what the workers did lately; see `dashboard`."""
    return _board("events", app, theme)


def schedule_board(app: AsyncOmniQ | None = None, *, theme: str = "auto") -> BoardWidget:
    """A live view of the schedules; see `dashboard`."""
    return _board("schedules", app, theme)


def _board(view: str, app: AsyncOmniQ | None, theme: str) -> BoardWidget:
    from .boards import board

    return board(view, app, theme)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext omniq`` comes here."""
    from .extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """``%unload_ext omniq`` comes here."""
    from .extension import unload

    unload(shell)
