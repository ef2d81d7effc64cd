"""URLs of stores that are files or directories of this machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ConfigError
from ..local import located


def place_of(url: str) -> tuple[str, Path]:
    """The URL with an absolute path, and that path.

    Raises:
        ConfigError: It has two slashes, so that the first part of its path would be taken for a machine.
    """
    parts = urlsplit(url)
    if parts.netloc:
        raise ConfigError(
            f"{url!r} names a machine, {parts.netloc!r}: three slashes stand before a relative path, four before an "
            f"absolute one, as in {parts.scheme}:///{parts.netloc}{parts.path}"
        )
    return located(url)
