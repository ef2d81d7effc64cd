"""The current app: what magics, displays and top-level calls act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from .app import AsyncOmniQ

_current: AsyncOmniQ | None = None


def current() -> AsyncOmniQ:
    """The current app: the one that the notebook uses, else the one that was opened first.

    Raises:
        ConfigError: There is none.
    """
    if _current is None:
        raise ConfigError(
            "there is no current app: write `%load_ext omniq` in a notebook, or `async with AsyncOmniQ() as app:`"
        )
    return _current


def find_current() -> AsyncOmniQ | None:
    """The current app, if there is one."""
    return _current


def set_current(app: AsyncOmniQ | None) -> None:
    """Make an app the current one."""
    global _current  # noqa: PLW0603 -- one current app for the process is the point
    _current = app
