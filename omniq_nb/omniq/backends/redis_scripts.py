"""The Lua scripts that do a driver's work inside Redis, each of them atomic."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

_DIRECTORY = Path(__file__).with_name("redis_lua")


Run = Callable[..., Awaitable[Any]]
"""Runs a script with its arguments."""


class Script(NamedTuple):
    """A script.

    Attributes:
        source: Its text.
        digest: The name by which the server knows it once it has seen it.
        tells: It tells those who listen.
    """

    source: bytes
    digest: str
    tells: bool = False


def _script(name: str) -> Script:
    source = b"\n".join((_DIRECTORY / f"{part}.lua").read_bytes() for part in ("common", name))
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


WRITE = _script("write")._replace(tells=True)
CLAIM = _script("claim")
SCAN = _script("scan")
EXPIRED = _script("expired")
COUNT = _script("count")
NEXT_DUE = _script("next_due")
LOG_READ = _script("log_read")
LOG_END = _script("log_end")
LOG_SPANS = _script("log_spans")
LOG_FIND = _script("log_find")
LOG_TRIM = _script("log_trim")
