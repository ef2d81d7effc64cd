"""What ``%load_ext omniq`` sets up, and ``%unload_ext omniq`` takes away again."""

from __future__ import annotations

import asyncio
import atexit
import logging
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ..app import AsyncOmniQ
from ..backends.registry import make_driver
from ..current import find_current, set_current
from ..registry import DEFAULT
from .boards import close_boards
from .children import Children
from .commands import Session
from .magics import COMPLETED, OmniQMagics, complete_line

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

logger = logging.getLogger("omniq")

_HELP = re.compile(r"^\s*%omniq\s+([a-z]+)\s*\?{1,2}\s*$")


class Extension:
    """One shell's OmniQ.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._session = Session(shell, Children(), self._use)
        self._own: AsyncOmniQ | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def load(self) -> None:
        """Set everything up."""
        if find_current() is None:
            self._own = AsyncOmniQ()
            set_current(self._own)
        self._shell.register_magics(OmniQMagics(self._shell, self._session))
        self._shell.input_transformers_cleanup.append(explain)
        for name in COMPLETED:
            self._shell.set_hook("complete_command", complete_line, str_key=name)
        atexit.register(self._session.children.leave)

    def unload(self) -> None:
        """Take everything away again."""
        self._session.children.stop(detached=False)
        self._close_own()
        for name, value in self._session.bound.items():
            if self._shell.user_ns.get(name) is value:
                del self._shell.user_ns[name]
        for name in self._session.registered:
            DEFAULT.remove(name)
        self._forget_magics()
        atexit.unregister(self._session.children.leave)

    def _forget_magics(self) -> None:
        manager = self._shell.magics_manager
        manager.magics["line"].pop("omniq", None)
        manager.magics["cell"].pop("omniq_task", None)
        manager.registry.pop(OmniQMagics.__name__, None)
        if explain in self._shell.input_transformers_cleanup:
            self._shell.input_transformers_cleanup.remove(explain)
        for name in COMPLETED:
            self._shell.strdispatchers["complete_command"].strs.pop(name, None)

    def _use(self, url: str) -> AsyncOmniQ:
        """Make an app of another store the current one."""
        app = AsyncOmniQ(url)
        make_driver(app.config.store_url("queue"))  # an unknown scheme is refused before anything is stopped
        self._session.children.stop(detached=False)
        self._close_own()
        self._own = app
        set_current(app)
        return app

    def _close_own(self) -> None:
        app, self._own = self._own, None
        if app is None:
            return
        close_boards(app)
        if find_current() is app:
            set_current(None)
        if app.is_open:
            self._run(app.close())

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """On the main loop, as soon as it gets a turn: a magic can't wait for it."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._shell.loop_runner(coroutine)
            return
        task = loop.create_task(coroutine)
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("the app could not be closed: %s", task.exception())


def explain(lines: list[str]) -> list[str]:
    """``%omniq start?`` as IPython's own ``%magic?``: an input transformer."""
    if len(lines) != 1 or not (match := _HELP.match(lines[0])):
        return lines
    return [f"%omniq help {match[1]}\n"]


_loaded: Extension | None = None


def load(shell: InteractiveShell) -> None:
    """Set OmniQ up in a shell."""
    global _loaded  # noqa: PLW0603 -- a process has one shell
    if _loaded is None:
        extension = Extension(shell)
        extension.load()
        _loaded = extension


def unload(_: InteractiveShell) -> None:
    """Take OmniQ away again."""
    global _loaded
    extension, _loaded = _loaded, None
    if extension is not None:
        extension.unload()
