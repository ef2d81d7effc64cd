"""Where stores that are files or directories of this machine lie."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

_DEFAULTS = {"sqlite": ".omniq/omniq.db", "file": ".omniq/files"}
"""The schemes of such stores, and where each lies unless its URL says so."""


def located(url: str) -> tuple[str, Path]:
    """The URL with an absolute path, and that path: three slashes stand before a relative one, four before an absolute.

    So a program may change its directory, and whoever gets the URL from it finds the same place.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path.removeprefix("/")) or _DEFAULTS[parts.scheme]).expanduser().absolute()
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}:///{quote(path.as_posix())}{query}", path


def pinned(url: str) -> str:
    """The URL; with an absolute path, if it leads to a file or directory of this machine."""
    parts = urlsplit(url)
    # Whoever opens the store says what is wrong with the others.
    return located(url)[0] if parts.scheme in _DEFAULTS and not parts.netloc and parts.path != "/:memory:" else url
