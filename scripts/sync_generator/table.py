"""Which classes have twins, and what the generator can't read off their source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "omniq_nb" / "omniq"
TARGET = PACKAGE / "sync"
COMMAND = "make sync"
LINE = 120


class GeneratorError(Exception):
    """The source has something that the generator does not know how to translate."""


@dataclass(frozen=True)
class Source:
    """A module with asynchronous classes.

    Attributes:
        path: The module, in the package.
        target: The generated module, in sync/.
        twins: The classes, and their twins' names.
        base: Of `omniq.sync.twin`: what a twin derives from if its class derives from none that has a twin.
    """

    path: str
    target: str
    twins: dict[str, str]
    base: str = "Twin"

    @property
    def module(self) -> str:
        """The module's name within the package."""
        return self.path.removesuffix(".py").replace("/", ".")


def _backend(module: str, name: str) -> Source:
    parts = ("Queue", "ResultStorage", "EventStorage", "ScheduleStorage")
    return Source(f"backends/{module}.py", f"{module}.py", {f"Async{name}{part}": f"{name}{part}" for part in parts})


SOURCES = (
    Source("app.py", "app.py", {"AsyncOmniQ": "OmniQ"}, "AppTwin"),
    Source("handles.py", "handles.py", {"TaskHandle": "SyncTaskHandle", "GroupHandle": "SyncGroupHandle"}),
    Source("tasks.py", "tasks.py", {"TaskFunction": "SyncTaskFunction"}),
    Source("pools.py", "pools.py", {"Workers": "SyncWorkers"}),
    Source("queue_manager.py", "queue_manager.py", {"QueueManager": "SyncQueueManager"}),
    Source("workers/pool.py", "worker_pool.py", {"WorkerPool": "SyncWorkerPool"}),
    Source("storage/component.py", "component.py", {"Component": "SyncComponent"}, "Made"),
    Source("storage/queue.py", "queue.py", {"BaseTaskQueue": "SyncTaskQueue"}),
    Source("storage/results.py", "results.py", {"BaseResultStorage": "SyncResultStorage"}),
    Source("storage/events.py", "events.py", {"BaseEventStorage": "SyncEventStorage"}),
    Source("storage/schedules.py", "schedules.py", {"BaseScheduleStorage": "SyncScheduleStorage"}),
    _backend("sqlite", "SQLite"),
    _backend("memory", "Memory"),
    _backend("redis", "Redis"),
    _backend("postgres", "Postgres"),
    _backend("files", "File"),
    _backend("s3", "S3"),
    _backend("azure", "Azure"),
    _backend("gcs", "GCS"),
    _backend("nats", "NATS"),
)
TWINS = {name: twin for source in SOURCES for name, twin in source.twins.items()}
SOURCE_OF = {name: source for source in SOURCES for pair in source.twins.items() for name in pair}
"""Where a class, or its twin, is to be found."""

MADE = {"AsyncOmniQ", "Component", "BaseTaskQueue", "BaseResultStorage", "BaseEventStorage", "BaseScheduleStorage"}
"""Users make these by calling the class; objects of the other classes are given to them."""
LATE = {"OmniQ"}
"""Its module imports the others, so that they import it when they need it."""
ALSO_ASYNC = {"TaskFunction"}
"""Taken as arguments in their asynchronous form too: a function of `@omniq.task` belongs to no app."""

TYPES = {"AsyncIterator": "Iterator", "AsyncGenerator": "Generator", "AsyncIterable": "Iterable"}
METHODS = {"__aenter__": "__enter__", "__aexit__": "__exit__"}
BASES = {"Displayed": "DisplayedTwin"}
BY_HAND = {"__init__", "__await__", "__repr__", "__reduce__", "__eq__", "__hash__", "__init_subclass__"}
"""Written once, in `omniq.sync.twin`, or without a synchronous form."""
ATTRIBUTE_TYPES = {("WorkerPool", "queues"): "list[str] | None", ("Component", "driver"): "Driver"}
"""Of public attributes whose type can't be read off the line that sets them."""

WORDS = {"Workers", "Component"}
"""Classes whose names are words as well: in a docstring they mean the class only between backticks."""
PHRASES = (
    # The value of an awaited handle is its result; what else is awaited gives the same without the word.
    (r"await \(await (\w[\w.]*\([^()]*\))\)", r"\1.result()"),
    (r"\(await (\w[\w.]*\([^()]*\))\)", r"\1"),
    (
        r"It opens its stores when it is first used, on the loop that is running then, and belongs to that loop\.",
        """It opens its stores when it is first used. Its calls block; the work is done by a thread in the background.
So it can be used in a script, a thread or a cell, whether or not an event loop runs there.""",
    ),
    (r"Awaiting it gives", "`result` gives"),
    (r"Awaiting the group gives", "`results` gives"),
    (r"on this app's loop: ", "in the background: "),
    (r", on the loop that it is started on\b", ", in the background"),
    (r"\basync (with|for)\b", r"\1"),
    (r"(``?[^`\n]*)\bawait ", r"\1"),
    (r"^( *(?:>>>|\.\.\.) .*?)\bawait ", r"\1"),
    (r"\bawait (?=\w+[.(])", ""),
    (r"\bawait\b", "wait for"),
    (r"\bAwait\b", "Wait for"),
    (r"\bAwaiting\b", "Waiting for"),
    (r"\bawaited\b", "waited for"),
    (r"\bawaiting\b", "waiting for"),
)
"""What a docstring says otherwise of a twin: patterns and replacements, in this order."""

LEFT_OUT = {"connection", "outbox"}
"""Parameters and attributes that a twin has not: they are objects of one loop, and a twin's caller is not on it."""
