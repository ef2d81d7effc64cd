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


def _script(name: str, *parts: str, tells: bool = False, flags: str = "") -> Script:
    """A script, with the parts that it and they need before it, in this order, and flags for the server."""
    files = ["parts/common", *(f"parts/{part}" for part in parts), name]
    first = [f"#!lua flags={flags}".encode()] if flags else []
    source = b"\n".join([*first, *((_DIRECTORY / f"{file}.lua").read_bytes() for file in files)])
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest(), tells)


# Functions are made anew each time that a script runs, which takes half of what Redis takes for a little command. So a
# script has no parts of which it needs nothing.
_PARTS_OF_WRITE = ("many", "changes", "entries", "claimed", "handing", "log", "call")
WRITE = _script("write", *_PARTS_OF_WRITE, tells=True)
WRITE_IN_FULL_MEMORY = _script("write", *_PARTS_OF_WRITE, tells=True, flags="allow-oom")
"""For what needs no more memory: heartbeats, without which tasks would be run once more, and deletions."""
ADDITION = _script("addition", "at_once", "entries", "claimed", "handing", "log", "call", tells=True)
CLAIM = _script("claim", "many", "merge", "changes", "entries", "claimed")
SCAN = _script("scan", "many", "merge")
EXPIRED = _script("expired", "many")
COUNT = _script("count")
NEXT_DUE = _script("next_due")
LOG_READ = _script("log_read", "log")
LOG_END = _script("log_end", "log")
LOG_SPANS = _script("log_spans", "log")
LOG_FIND = _script("log_find")
LOG_TRIM = _script("log_trim", "many", "log")
