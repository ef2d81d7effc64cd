"""URLs of stores that are files or directories of this machine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ConfigError
from ..local import located
from ..masking import mask_url


def place_of(url: str) -> tuple[str, Path]:
    """The URL with an absolute path, and that path.

    Raises:
        ConfigError: It has two slashes, so that the first part of its path would be taken for a machine.
    """
    parts = urlsplit(url)
    if parts.netloc:
        raise ConfigError(
            f"{mask_url(url)!r} names a machine after its two slashes: write three before a relative path, and four "
            f"before an absolute one"
        )
    return located(url)
