"""One role of one contender: ``python -m contenders NAME ROLE DIRECTORY URL JSON``. It prints the answer as JSON."""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import answer

from . import CONTENDERS, roles
from .base import Contender, Store, run_quickly


def main(name: str, role: str, directory: str, url: str, arguments: str) -> None:
    """Carry out a role."""
    _end_with_parent()
    logging.disable(logging.WARNING)
    store = Store(CONTENDERS[name].kind, Path(directory), url)
    if role == "about":
        answer.give(_about(name, store))
        return
    contender = _load(name, store)
    if role == "work":
        contender.work(**json.loads(arguments))  # type: ignore[attr-defined]
    else:
        answer.give(_run(roles.ROLES[role](contender, **json.loads(arguments))))


def _end_with_parent() -> None:
    """However the runner ends, no worker is left behind; on other systems it has to come to its own clean end."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _load(name: str, store: Store) -> Contender:
    module = importlib.import_module(f".{CONTENDERS[name].module}", __package__)
    contender: Contender = module.CONTENDER(name, store)
    return contender


def _about(name: str, store: Store) -> dict[str, Any]:
    try:
        contender = _load(name, store)
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    return {**contender.about(), "version": _version(contender.package)}


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def _run(role: Coroutine[Any, Any, Any]) -> Any:
    return run_quickly(role) if os.environ.get("BENCH_UVLOOP") else asyncio.run(role)


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # some contenders leave threads behind that end only when they are killed
