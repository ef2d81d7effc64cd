"""The ``omniq`` command: workers of their own process, and a look at the queues and the stores."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .app import AsyncOmniQ
from .backends.registry import driver_class
from .config import Config
from .errors import ConfigError, OmniQError, StoreUnavailableError
from .masking import mask_url
from .models.task import TaskStatus
from .models.worker import DEFAULT_CONCURRENCY, WorkerType
from .queue_manager import Stats
from .registry import import_modules
from .storage.breaker import pause_after
from .workers.outage import Outage
from .workers.pool import GRACE_SECONDS, WorkerPool

if TYPE_CHECKING:
    from .health import Health

_PARENT_POLL_SECONDS = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status: 0, or 2 with one line that says what was wrong.

    1: `doctor` found something wrong; 130: it was interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    options = _parser().parse_args(arguments)
    try:
        return int(_run(options.command(options)))
    except OmniQError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read the output has enough. What Python would still flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _complain(error: OmniQError) -> int:
    print(f"omniq: {error}", file=sys.stderr)
    return 2


def _run(main_coroutine: Coroutine[Any, Any, int]) -> int:
    """On uvloop where it is installed: it takes a tenth off the worker's time per task."""
    run: Callable[[Coroutine[Any, Any, int]], int] = asyncio.run
    with contextlib.suppress(ImportError):
        run = importlib.import_module("uvloop").run
    return run(main_coroutine)


# --- worker ---


async def _worker(options: argparse.Namespace) -> int:
    sys.path.insert(0, str(Path.cwd()))  # modules of the directory that the worker is started in, as `python -m` has it
    import_modules(_names(options.imports))
    app = _app(options, lease=options.lease)
    _must_be_shared(app.config.store_url("queue"))
    stop = asyncio.Event()
    _stop_on_signals(stop)
    watching = asyncio.create_task(_stop_with_parent(options.with_parent, stop)) if options.with_parent else None
    pool: WorkerPool | None = None
    status = 0
    try:
        try:
            if not await _opened(app, stop):
                return 0
            kind = WorkerType(options.type)
            queues = _names([options.queues]) if options.queues else None
            pool = await app.workers(kind, concurrency=options.concurrency, queues=queues).start()
            _announce(pool, app.config)
            await _until_stopped(pool, stop, drain=options.drain)
            await pool.stop(options.grace)
            app.forget_pool(pool)
        finally:
            if watching is not None:
                watching.cancel()
            await app.close()
    except OmniQError as error:
        if pool is None or not pool.abandoned:
            raise
        status = _complain(error)
    if pool.abandoned:
        # Their tasks were handed back; waiting for them at the interpreter's end could take for ever.
        sys.stderr.flush()
        os._exit(status)
    return status


def _must_be_shared(url: str) -> None:
    if not driver_class(url).capabilities.shared:
        raise ConfigError(
            f"the store {mask_url(url)} is each process's own, so no task can come: use one that is shared"
        )


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)  # asked twice: now
        stop.set()

    for each in _SIGNALS:
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(each, on_signal)


def _announce(pool: WorkerPool, config: Config) -> None:
    queues = ", ".join(pool.queues) if pool.queues else "all"
    store = mask_url(config.store_url("queue"))
    logging.getLogger("omniq").info(
        "worker %s: %s, %d at a time, queues: %s, store: %s", pool.id, pool.kind, pool.concurrency, queues, store
    )


async def _opened(app: AsyncOmniQ, stop: asyncio.Event) -> bool:
    """Open the stores, as soon as they are there: a server may start later than its workers."""
    outage = Outage(f"{platform.node()}-{os.getpid()}")
    failures = 0
    while not stop.is_set():
        try:
            if not await _opened_before(stop, app):
                return False
        except StoreUnavailableError as error:
            outage.failed("open its store", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_after(failures))
            failures += 1
        else:
            outage.worked("open its store")
            return True
    return False


async def _opened_before(stop: asyncio.Event, app: AsyncOmniQ) -> bool:
    """Open the stores; ``False``: they did not answer before the stop, and whoever closes the app breaks that off."""
    opening = asyncio.ensure_future(app.open())
    stopped = asyncio.ensure_future(stop.wait())
    waiting: list[asyncio.Future[Any]] = [opening, stopped]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()
        return opening.done()
    finally:
        for each in waiting:
            each.cancel()


async def _until_stopped(pool: WorkerPool, stop: asyncio.Event, *, drain: bool) -> None:
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait())]
    if drain:
        waiting.append(asyncio.ensure_future(pool.drain()))
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in pending:
        each.cancel()
    for each in done:
        each.result()


async def _stop_with_parent(parent: int, stop: asyncio.Event) -> None:
    # A killed parent tells nobody; its children are given another parent.
    while os.getppid() == parent:  # noqa: ASYNC110 -- nothing could set an event
        await asyncio.sleep(_PARENT_POLL_SECONDS)
    stop.set()


# --- status ---


async def _status(options: argparse.Namespace) -> int:
    app = _app(options)
    try:
        stats = await app.stats()
        failed = await app.dead_letters(limit=5)
    finally:
        await app.close()
    print(f"store    {mask_url(app.config.store_url('queue'))}")
    print(_queues_table(stats))
    for worker in stats.workers:
        queues = ", ".join(worker.queues) or "all queues"
        print(f"worker   {worker.id}  {worker.type}, {worker.running} of {worker.concurrency} busy, {queues}")
    if not stats.workers:
        print("worker   none: start one with `omniq worker`")
    for task in failed.tasks:
        print(f"failed   {task.id}  {task.func}: {task.error}")
    return 0


def _queues_table(stats: Stats) -> str:
    statuses = [status.value for status in TaskStatus if stats.totals.get(status)]
    if not statuses:
        return "queue    none has tasks yet"
    width = max(len(name) for name in stats.queues) + len(" (paused)")
    lines = ["queue    " + " " * width + "".join(f"{status:>11}" for status in statuses)]
    for name, counts in stats.queues.items():
        shown = f"{name} (paused)" if name in stats.paused else name
        lines.append(f"         {shown:{width}}" + "".join(f"{counts.get(status, 0):>11,}" for status in statuses))
    return "\n".join(lines)


# --- doctor ---


async def _doctor(options: argparse.Namespace) -> int:
    print(f"omniq {__version__}, Python {platform.python_version()} on {platform.system()}")
    app = _app(options)
    try:
        health = await app.health()
        print("\n".join(_findings(health)))
        if not health.ok:
            return 1
        if any(each.absent for each in health.components):
            return 0
        stats = await app.stats()
    finally:
        await app.close()
    print(f"{'workers':12} {len(stats.workers) or 'none: start one with `omniq worker`'}")
    print(f"{'tasks':12} {', '.join(f'{n:,} {status}' for status, n in stats.totals.items() if n) or 'none yet'}")
    if stats.paused:
        print(f"{'paused':12} {', '.join(sorted(stats.paused))}")
    return 0


def _findings(health: Health) -> Iterator[str]:
    """A line for each store; one for those that have the same error, and what is wrong besides."""
    told: set[tuple[str, str]] = set()
    for each in health.components:
        backend = f"{each.backend}, " if each.backend else ""
        if each.error is not None:
            if (each.store, each.error) in told:
                continue
            told.add((each.store, each.error))
            same = [one.component for one in health.components if (one.store, one.error) == (each.store, each.error)]
            yield f"{', '.join(same):12} {backend}{each.store}: {each.error}"
        elif each.absent:
            yield f"{each.component:12} {backend}{each.store}: is not there yet, and is made when it is first used"
        else:
            yield f"{each.component:12} {backend}{each.store}: answers in {(each.latency or 0) * 1000:.1f} ms"
    for problem in health.problems:
        yield f"{'secret':12} {problem}"


# --- arguments ---


def _app(options: argparse.Namespace, **fields: Any) -> AsyncOmniQ:
    return AsyncOmniQ.from_config(options.config, url=options.url, **fields)


def _names(values: Sequence[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="omniq", description="A durable task queue that lives in Jupyter.")
    parser.add_argument("--version", action="version", version=f"omniq {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--url", help="the store, such as sqlite:///.omniq/omniq.db (the default)")
    store.add_argument("--config", metavar="FILE", help="a YAML file with the fields of Config")

    worker = commands.add_parser("worker", parents=[store], help="run tasks until told to stop (Ctrl-C)")
    worker.set_defaults(command=_worker)
    worker.add_argument("--type", default=WorkerType.ASYNC.value, choices=[each.value for each in WorkerType])
    worker.add_argument("--concurrency", type=int, default=DEFAULT_CONCURRENCY, metavar="N", help="tasks at a time")
    worker.add_argument("--queues", metavar="A,B", help="in order of preference; every queue unless given")
    worker.add_argument("--import", dest="imports", action="append", default=[], metavar="MODULE,…",
                        help="modules whose tasks this worker may run")  # fmt: skip
    worker.add_argument("--lease", metavar="SECONDS", help="how long a task is held without a heartbeat")
    worker.add_argument("--grace", type=float, default=GRACE_SECONDS, metavar="SECONDS",
                        help="how long running tasks may go on after a stop")  # fmt: skip
    worker.add_argument("--drain", action="store_true", help="end when no task is due or runs")
    worker.add_argument("--with-parent", nargs="?", type=int, const=os.getppid(), metavar="PID",
                        help="end when the process that started this one does")  # fmt: skip

    status = commands.add_parser("status", parents=[store], help="print queues, workers and the latest failures")
    status.set_defaults(command=_status)

    doctor = commands.add_parser(
        "doctor", parents=[store], help="look whether every store answers, and say what is wrong"
    )
    doctor.set_defaults(command=_doctor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
