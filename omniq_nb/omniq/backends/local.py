"""Where a store that is a file or a directory of this machine lies."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit


def located(url: str, default: str) -> tuple[str, Path]:
    """The place that a URL names, and the URL with that place as an absolute path.

    So a program may change its directory, and a driver cloned from another one finds the same place.

    Args:
        url: With three slashes before a relative path, four before an absolute one.
        default: The path where the URL has none.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path.removeprefix("/")) or default).expanduser().absolute()
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}:///{quote(path.as_posix())}{query}", path
