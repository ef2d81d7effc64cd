"""The subcommands of ``%omniq``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from IPython.display import display

from ..app import AsyncOmniQ
from ..current import current
from ..errors import OmniQError, OptionError
from ..models.task import TaskStatus
from ..models.worker import DEFAULT_CONCURRENCY, WorkerType
from ..queue_manager import Stats
from ..storage.workers import WorkerInfo
from ..tasks import TaskFunction
from ..workers.pool import WorkerPool
from . import html
from .boards import board
from .briefly import with_twin
from .children import Children, WorkerOptions
from .display import in_kernel
from .options import command_parsers, overview
from .store_name import store_name

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

PARSERS = command_parsers()


class Session:
    """What the magics of one shell have started and made.

    Args:
        shell: The shell.
        children: The workers beside it.
        use: Makes an app of another store the current one.
    """

    def __init__(self, shell: InteractiveShell, children: Children, use: Callable[[str], AsyncOmniQ]) -> None:
        self.shell = shell
        self.children = children
        self.use = use
        self.pools: list[WorkerPool] = []
        self.bound: dict[str, Any] = {}
        """What was put into the user's namespace."""
        self.registered: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()

    def bind(self, name: str, value: Any) -> None:
        """Put something into the user's namespace."""
        self.bound[name] = value
        self.shell.user_ns[name] = value

    def remember(self, task: TaskFunction[..., Any]) -> TaskFunction[..., Any]:
        """Note what was registered here."""
        self.registered.add(task.name)
        return task

    def soon(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something on the main loop, once it gets a turn; what goes wrong is told where the cell was."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            coroutine.close()
            raise OptionError(
                "no event loop is running here: in a terminal, start workers without --in-kernel"
            ) from None
        task = loop.create_task(_told(coroutine))
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _told(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        await coroutine
    except OmniQError as error:
        print(f"omniq: {error}", file=sys.stderr)


def run_command(session: Session, line: str) -> None:
    """Carry out ``%omniq`` with the rest of its line.

    Raises:
        OmniQError: It can't be done, or was not understood.
    """
    name, _, rest = line.strip().partition(" ")
    if not name:
        print(overview(PARSERS))
        return
    parser = PARSERS.get(name)
    if parser is None:
        raise OptionError(f"no subcommand {name!r}: the subcommands are {', '.join(PARSERS)}")
    _COMMANDS[name](session, parser.read(rest))


# --- workers ---


def _start(session: Session, options: argparse.Namespace) -> None:
    if options.in_kernel:
        _start_in_kernel(session, options)
        return
    chosen = WorkerOptions(
        kind=options.type,
        concurrency=options.concurrency,
        queues=options.queues,
        imports=options.imports,
        detach=options.detach,
    )
    child, info = session.children.start(current(), chosen)
    ends = "goes on when this kernel ends" if child.detached else "ends with this kernel"
    print(f"Worker process {info.pid}: {_describe(info.type, info.concurrency, info.queues)}, {ends}.")


def _start_in_kernel(session: Session, options: argparse.Namespace) -> None:
    if options.detach or options.imports:
        raise OptionError("--detach and --import are for workers beside the kernel: leave out --in-kernel")
    app = current()
    concurrency = DEFAULT_CONCURRENCY if options.concurrency is None else options.concurrency
    queues = None if options.queues is None else [name.strip() for name in options.queues.split(",") if name.strip()]
    kind = WorkerType(options.type)

    async def start() -> None:
        session.pools.append(await app.workers(kind, concurrency=concurrency, queues=queues).start())

    session.soon(start())
    print(f"Workers in this kernel: {_describe(kind.value, concurrency, queues or ())}; they rest while a cell blocks.")


def _describe(kind: str, concurrency: int, queues: Sequence[str]) -> str:
    return f"{kind}, {concurrency} at a time, {'queues ' + ', '.join(queues) if queues else 'every queue'}"


def _stop(session: Session, _: argparse.Namespace) -> None:
    pools, session.pools = session.pools, []
    app = current()

    async def stop_pools() -> None:
        for pool in pools:
            await pool.stop()
            app.forget_pool(pool)

    if pools:
        session.soon(stop_pools())
    processes, killed = session.children.stop()
    if not pools and not processes:
        print("No workers were started here.")
        return
    parts = [f"{processes} worker process{'es' if processes != 1 else ''}"] if processes else []
    parts += ["the workers in this kernel"] if pools else []
    note = f" {killed} had to be killed; their tasks run again when the lease ends." if killed else ""
    print(f"Stopped {' and '.join(parts)}.{note}")


def _workers(session: Session, _: argparse.Namespace) -> None:
    stats = with_twin(current(), lambda app: app.stats())
    logs = {child.pid: str(child.log) for child in session.children.living()}
    rows = [(*_worker_row(info), logs.get(info.pid, "")) for info in stats.workers]
    _show_table(("worker", "type", "busy", "queues", "output"), rows, "No workers: start some with `%omniq start`.")
    for child in session.children.take_fallen():
        print(f"Worker process {child.pid} has ended by itself: {child.last_words()} (its output is in {child.log})")


def _worker_row(info: WorkerInfo) -> tuple[str, str, str, str]:
    return info.id, info.type, f"{info.running} of {info.concurrency}", ", ".join(info.queues) or "all"


# --- looking ---


def _status(_: Session, __: argparse.Namespace) -> None:
    app = current()
    stats = with_twin(app, lambda twin: twin.stats())
    plain = f"{store_name(app.config)}\n{_queues_text(stats)}\nworkers: {len(stats.workers)}"
    if not in_kernel():
        print(plain)
        return
    workers = html.table(
        ("worker", "type", "busy", "queues"), [_worker_row(each) for each in stats.workers], empty="no workers"
    )
    picture = html.title("OmniQ", store_name(app.config)) + html.queue_table(stats.queues, stats.paused) + workers
    display({"text/plain": plain, "text/html": html.panel(picture)}, raw=True)


def _queues_text(stats: Stats) -> str:
    lines = []
    for name, counts in stats.queues.items():
        shown = ", ".join(f"{counts[status]:,} {status}" for status in TaskStatus if counts.get(status))
        lines.append(f"queue {name}{' (paused)' if name in stats.paused else ''}: {shown}")
    return "\n".join(lines) or "no queue has tasks yet"


def _show_table(head: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    if not rows:
        print(empty)
        return
    plain = "\n".join("  ".join(str(value) for value in row) for row in rows)
    if in_kernel():
        display({"text/plain": plain, "text/html": html.panel(html.table(head, rows))}, raw=True)
    else:
        print(plain)


def _events(_: Session, options: argparse.Namespace) -> None:
    display(
        with_twin(
            current(),
            lambda app: app.events(task_id=options.task, types=options.type, queue=options.queue, limit=options.limit),
        )
    )


def _dashboard(_: Session, options: argparse.Namespace) -> None:
    display(board("dashboard", theme=options.theme))


# --- the rest ---


def _use(session: Session, options: argparse.Namespace) -> None:
    session.pools.clear()  # they are stopped with their app
    app = session.use(options.url)
    print(f"The current app's store is {store_name(app.config)} now.")


def _help(_: Session, options: argparse.Namespace) -> None:
    print(PARSERS[options.command].format_help() if options.command else overview(PARSERS))


_COMMANDS: dict[str, Callable[[Session, argparse.Namespace], None]] = {
    "status": _status,
    "start": _start,
    "stop": _stop,
    "use": _use,
    "dashboard": _dashboard,
    "events": _events,
    "workers": _workers,
    "help": _help,
}
