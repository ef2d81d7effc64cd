"""The words and flags of the magics: parsed, explained and completed from one table."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..errors import OptionError
from ..models.worker import WorkerType

_ASSIGNMENT = re.compile(r"^([a-z_]+)=(.*)$", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Raises instead of ending the process, and remembers its flags for completion."""

    def __init__(self, magic: str, summary: str) -> None:
        self.flags: dict[str, tuple[str, ...]] = {}
        """Each flag, and the values that it may have where they are few."""
        self.words: tuple[str, ...] = ()
        """Values of the first plain argument."""
        self.summary = summary
        super().__init__(prog=magic, description=summary, add_help=False, allow_abbrev=False)

    def add(self, *names: str, **options: Any) -> None:
        """Add an argument."""
        self.add_argument(*names, **options)
        choices = tuple(str(each) for each in options.get("choices") or ())
        if names[0].startswith("--"):
            self.flags[names[0]] = choices
        else:
            self.words = choices

    def read(self, line: str) -> argparse.Namespace:
        """Parse a magic's line; ``name=value`` stands for ``--name value``.

        Raises:
            OptionError: It can't be understood.
        """
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise OptionError(f"{self.prog} {line}: {error}") from error
        return self.parse_args([part for word in words for part in self._as_flag(word)])

    def _as_flag(self, word: str) -> Sequence[str]:
        match = _ASSIGNMENT.match(word)
        if match is None:
            return (word,)
        flag = f"--{match[1].replace('_', '-')}"
        return (f"{flag}={match[2]}",) if flag in self.flags else (word,)

    def error(self, message: str) -> NoReturn:
        """Refuse a line.

        Raises:
            OptionError: Always.
        """
        raise OptionError(f"{message} (`{self.prog}?` explains)")


def task_parser() -> Parser:
    """``%%omniq_task``."""
    parser = Parser(
        "%%omniq_task",
        "Make this cell a background task. A cell that ends with a function makes the function a task: "
        "`await fetch.enqueue(...)`. Any other cell runs in a worker as it is, with the values of the variables that "
        "it uses; its handle is displayed, and the value of its last expression is the result.",
    )
    parser.add("--name", help="what the task is called; of a cell without a function, also its handle")
    parser.add("--queue", help="the queue that it waits in")
    parser.add("--priority", type=int, help="larger runs first")
    parser.add("--max-retries", type=int, help="tries after the first; a cell without a function has none unless given")
    parser.add("--retry-delay", type=float, metavar="SECONDS", help="before the first retry")
    parser.add("--timeout", type=float, metavar="SECONDS", help="how long one attempt may run")
    parser.add("--ttl", type=float, metavar="SECONDS", help="within which it must have started")
    parser.add("--result-ttl", type=float, metavar="SECONDS", help="that its result is kept")
    parser.add("--delay", type=float, metavar="SECONDS", help="before it may run")
    return parser


def _start(parser: Parser) -> None:
    kinds = [each.value for each in WorkerType]
    parser.add("concurrency", nargs="?", type=int, metavar="N", help="tasks at a time")
    parser.add("--type", choices=kinds, default=kinds[0], help="how tasks are run: %(choices)s")
    parser.add("--queues", metavar="A,B", help="in order of preference; every queue unless given")
    parser.add("--import", dest="imports", action="append", default=[], metavar="MODULE", help="whose tasks it may run")
    parser.add("--in-kernel", action="store_true", help="on this kernel's own loop, for tasks that need its objects")
    parser.add("--detach", action="store_true", help="go on when this kernel ends")


def _use(parser: Parser) -> None:
    parser.add("url", help="such as sqlite:///tasks.db, memory://, redis://localhost")


def _events(parser: Parser) -> None:
    parser.add("--limit", type=int, default=20, metavar="N", help="the latest N; %(default)s unless given")
    parser.add("--type", action="append", default=[], metavar="TYPE", help="such as task.failed or worker.*")
    parser.add("--queue", help="of this queue")
    parser.add("--task", metavar="ID", help="of this task")


def _dashboard(parser: Parser) -> None:
    parser.add("--theme", choices=("auto", "light", "dark"), default="auto", help="%(choices)s")


def _nothing(_: Parser) -> None:
    return


_COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "status": ("Show the queues, what is paused, and the workers.", _nothing),
    "start": ("Start workers beside this kernel: a process of its own, that a busy cell does not stop.", _start),
    "stop": ("Stop the workers that were started here; what they run may end.", _nothing),
    "use": ("Work with another store from now on; what was started for the one before is stopped.", _use),
    "dashboard": ("Show the live dashboard.", _dashboard),
    "events": ("Show what happened lately, as a frame.", _events),
    "workers": ("Show the workers, and where those beside this kernel write their output.", _nothing),
    "help": ("Explain a subcommand.", lambda parser: parser.add("command", nargs="?", choices=tuple(_COMMANDS))),
}


def command_parsers() -> dict[str, Parser]:
    """A parser for each subcommand of ``%omniq``."""
    parsers: dict[str, Parser] = {}
    for name, (summary, add_arguments) in _COMMANDS.items():
        parser = parsers[name] = Parser(f"%omniq {name}", summary)
        add_arguments(parser)
    return parsers


def overview(parsers: dict[str, Parser]) -> str:
    """What ``%omniq`` can do."""
    lines = [f"  {name:<10} {parser.summary}" for name, parser in parsers.items()]
    return "\n".join(["%omniq COMMAND ...", "", *lines, "", "`%omniq COMMAND?` explains one."])


def complete(parser: Parser, before: Sequence[str], symbol: str) -> list[str]:
    """What may come next on a magic's line.

    Args:
        parser: The magic's, or the subcommand's.
        before: The words so far.
        symbol: What has been typed of the next one.
    """
    if before and before[-1] in parser.flags and parser.flags[before[-1]]:
        return [each for each in parser.flags[before[-1]] if each.startswith(symbol)]
    words = parser.words if not before else ()
    flags = [flag for flag in parser.flags if flag not in before]
    return [each for each in (*words, *flags) if each.startswith(symbol)]
