"""The views that users ask for by name, and those that displays make."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from ..current import current
from ..errors import OptionError
from .progress import Progress
from .publisher import App, Publisher

if TYPE_CHECKING:
    from .widget import BoardWidget

logger = logging.getLogger("omniq")

_publishers: WeakValueDictionary[int, Publisher] = WeakValueDictionary()
"""By their app's id; they live as long as a view of theirs does, and keep the app alive meanwhile."""
_views: WeakKeyDictionary[Publisher, list[BoardWidget]] = WeakKeyDictionary()
_progress: WeakKeyDictionary[Any, BoardWidget] = WeakKeyDictionary()


def publisher_of(app: App) -> Publisher:
    """What feeds an app's views."""
    publisher = _publishers.get(id(app))
    if publisher is None or publisher.is_closed:
        publisher = _publishers[id(app)] = Publisher(app)
    return publisher


def board(view: str, app: App | None = None, theme: str = "auto") -> BoardWidget:
    """The view of an app; asking again gives the same one, so that a cell that runs again leaves nothing behind.

    Raises:
        OptionError: There is no such theme.
        ConfigError: No app was given, and there is no current one.
    """
    from .widget import THEMES, BoardWidget

    if theme not in THEMES:
        raise OptionError(f"no theme {theme!r}: the themes are {', '.join(THEMES)}")
    publisher = publisher_of(current() if app is None else app)
    views = _views.setdefault(publisher, [])
    views[:] = [each for each in views if each.comm is not None]
    for each in views:
        if (each.view, each.theme) == (view, theme):
            return each
    widget = BoardWidget(publisher, view, theme=theme)
    views.append(widget)
    return widget


def progress_board(handle: Any, progress: Progress) -> BoardWidget:
    """The view of a handle's or a group's progress; one for each handle."""
    from .widget import BoardWidget

    widget = _progress.get(handle)
    if widget is None or widget.comm is None:
        widget = _progress[handle] = BoardWidget(publisher_of(handle.app), "progress", progress=progress)
    return widget


def close_boards(app: App) -> None:
    """Tell an app's views that it is closed, and feed them no more."""
    publisher = _publishers.pop(id(app), None)
    if publisher is not None:
        publisher.close()
