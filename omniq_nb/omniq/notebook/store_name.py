"""What a store is called where people read it: short, and without passwords."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..config import Config
from ..masking import mask_url

_FIELDS = ("queue", "results", "events", "schedules")


def store_name(config: Config) -> str:
    """The tasks' store, and how many others there are."""
    name = url_name(config.store_url("queue"))
    others = {config.store_url(field) for field in _FIELDS} - {config.store_url("queue")}
    return f"{name} (and {len(others)} more)" if others else name


def url_name(url: str) -> str:
    """A URL to read: a local file's path from here, anything else with its password masked."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        return mask_url(url)
    path = Path(unquote(parts.path.removeprefix("/")) or ".omniq/omniq.db")
    try:
        return f"sqlite:///{path.absolute().relative_to(Path.cwd())}"
    except ValueError:
        return f"sqlite:///{path}"
