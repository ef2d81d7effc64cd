"""``%omniq`` and ``%%omniq_task``."""

from __future__ import annotations

import argparse
import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from ..current import current
from ..errors import OmniQError
from ..handles import TaskHandle
from ..registry import DEFAULT
from ..tasks import TaskFunction, register
from .briefly import with_twin
from .cells import CellFunction, function_of
from .commands import PARSERS, Session, run_command
from .options import complete, overview, task_parser

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

COMPLETED = ("%omniq", "%%omniq_task")
"""The magics whose lines are completed."""

_TASK = task_parser()


@magics_class
class OmniQMagics(Magics):
    """The magics of one shell.

    Args:
        shell: The shell.
        session: What they have started and made.
    """

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self._session = session

    @line_magic
    def omniq(self, line: str) -> None:
        try:
            run_command(self._session, line)
        except OmniQError as error:
            raise UsageError(f"omniq: {error}") from None

    @cell_magic
    def omniq_task(self, line: str, cell: str) -> TaskHandle[Any] | None:
        try:
            options = _TASK.read(line)
            found = function_of(self._session.shell, cell, options.name)
            if found.is_body:
                return self._send(found, options)
            self._define(found, options)
        except OmniQError as error:
            raise UsageError(f"omniq: {error}") from None
        return None

    def _define(self, found: CellFunction, options: argparse.Namespace) -> None:
        task = self._task(found, options, options.name)
        name = found.func.__name__
        self._session.bind(name, task)
        print(f"{task.name!r} is a task now: await {name}.enqueue{_parameters(found)}")

    def _send(self, found: CellFunction, options: argparse.Namespace) -> TaskHandle[Any]:
        if options.max_retries is None:
            options.max_retries = 0  # a cell that fails is to be looked at, not run again unasked
        task = self._task(found, options, found.func.__name__)
        app = current()
        sent = with_twin(app, lambda twin: twin.enqueue_call(task, (), found.values))
        handle: TaskHandle[Any] = TaskHandle(app, sent.id, task.name)
        if options.name is not None:
            self._session.bind(options.name, handle)
        return handle

    def _task(self, found: CellFunction, options: argparse.Namespace, name: str | None) -> TaskFunction[..., Any]:
        chosen = {key: value for key, value in vars(options).items() if value is not None and key != "name"}
        return self._session.remember(register(DEFAULT, found.func, name, chosen, current))  # type: ignore[arg-type]


def _parameters(found: CellFunction) -> str:
    try:
        names = list(inspect.signature(found.func).parameters)
    except (TypeError, ValueError):
        names = ["..."]
    return f"({', '.join(names)})"


OmniQMagics.omniq.__doc__ = f"Work with OmniQ's tasks and workers.\n\n{overview(PARSERS)}"
OmniQMagics.omniq_task.__doc__ = _TASK.format_help()


def complete_line(_: Any, event: SimpleNamespace) -> list[str]:
    """IPython's completion of the magics' lines."""
    before = event.text_until_cursor.split()
    symbol = event.symbol if before and before[-1] == event.symbol else ""
    if symbol:
        before = before[:-1]
    magic, *words = before or [event.command]
    if magic == "%%omniq_task":
        return complete(_TASK, words, symbol)
    if not words:
        return [name for name in PARSERS if name.startswith(symbol)]
    return complete(PARSERS[words[0]], words[1:], symbol) if words[0] in PARSERS else []
