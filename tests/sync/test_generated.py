"""What is generated: complete, equal in signature, typed, and what the generator would write today."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import omniq
import pytest
from omniq.app import AsyncOmniQ
from omniq.handles import GroupHandle, TaskHandle
from omniq.pools import Workers
from omniq.queue_manager import QueueManager
from omniq.storage.component import Component
from omniq.storage.events import BaseEventStorage
from omniq.storage.queue import BaseTaskQueue
from omniq.storage.results import BaseResultStorage
from omniq.storage.schedules import BaseScheduleStorage
from omniq.sync.app import OmniQ
from omniq.sync.component import SyncComponent
from omniq.sync.events import SyncEventStorage
from omniq.sync.handles import SyncGroupHandle, SyncTaskHandle
from omniq.sync.pools import SyncWorkers
from omniq.sync.queue import SyncTaskQueue
from omniq.sync.queue_manager import SyncQueueManager
from omniq.sync.results import SyncResultStorage
from omniq.sync.schedules import SyncScheduleStorage
from omniq.sync.tasks import SyncTaskFunction
from omniq.sync.worker_pool import SyncWorkerPool
from omniq.tasks import TaskFunction
from omniq.workers.pool import WorkerPool

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = ROOT / "scripts" / "generate_sync.py"

PAIRS: list[tuple[type, type]] = [
    (AsyncOmniQ, OmniQ),
    (TaskHandle, SyncTaskHandle),
    (GroupHandle, SyncGroupHandle),
    (TaskFunction, SyncTaskFunction),
    (Workers, SyncWorkers),
    (WorkerPool, SyncWorkerPool),
    (QueueManager, SyncQueueManager),
    (Component, SyncComponent),
    (BaseTaskQueue, SyncTaskQueue),
    (BaseResultStorage, SyncResultStorage),
    (BaseEventStorage, SyncEventStorage),
    (BaseScheduleStorage, SyncScheduleStorage),
    *(
        (getattr(omniq, f"Async{backend}{part}"), getattr(omniq, f"{backend}{part}"))
        for backend in ("SQLite", "Memory")
        for part in ("Queue", "ResultStorage", "EventStorage", "ScheduleStorage")
    ),
]
NAMES = {original.__name__: twin.__name__ for original, twin in PAIRS}
MADE_BY_USERS = (AsyncOmniQ, Component)
OTHER_NAMES = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__await__": None}


def members(cls: type) -> dict[str, Any]:
    """What a class offers: its public methods and properties, and the protocols that it fulfils."""
    found = {}
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        is_protocol = re.fullmatch(r"__(a?enter|a?exit|await|call|get|getitem|iter|len)__", name)
        if (is_protocol or not name.startswith("_")) and isinstance(member, FunctionType | property | classmethod):
            found[name] = member
    if issubclass(cls, MADE_BY_USERS):
        found["__init__"] = cls.__init__  # type: ignore[misc]  # the very class is meant
    return found


CASES = [
    pytest.param(original, twin, name, id=f"{original.__name__}.{name}")
    for original, twin in PAIRS
    for name in members(original)
]


@pytest.mark.parametrize(("original", "twin", "name"), CASES)
def test_every_public_name_has_a_twin_of_the_same_signature(original: type, twin: type, name: str) -> None:
    twins_name = OTHER_NAMES.get(name, name)
    if twins_name is None:
        return
    ours, theirs = inspect.getattr_static(twin, twins_name), inspect.getattr_static(original, name)
    assert type(ours) is type(theirs)
    if isinstance(theirs, property):
        ours, theirs = ours.fget, theirs.fget
    ours, theirs = inspect.unwrap(getattr(ours, "__func__", ours)), inspect.unwrap(getattr(theirs, "__func__", theirs))
    assert not inspect.iscoroutinefunction(ours)
    # A connection of the caller's own is one of his loop, and a twin works on another.
    assert shape(ours) == [(*each[:3], as_twins(each[3])) for each in shape(theirs) if each[0] != "connection"]
    returned = inspect.signature(ours).return_annotation
    assert parts_of(returned) == parts_of(as_twins(inspect.signature(theirs).return_annotation))


def shape(function: Any) -> list[tuple[str, Any, Any, str]]:
    """Name, kind, default and type of each parameter."""
    return [
        (each.name, each.kind, each.default, _without_also_async(str(each.annotation)))
        for each in inspect.signature(function).parameters.values()
    ]


def as_twins(annotation: str) -> str:
    annotation = re.sub(r"\bAsync(Iterator|Generator)\b", r"\1", str(annotation))
    return re.sub(r"\w+", lambda found: NAMES.get(found[0], found[0]), annotation)


def parts_of(annotation: str) -> set[str]:
    return set(re.split(r" \| ", str(annotation)))


def _without_also_async(annotation: str) -> str:
    """A twin takes task functions of `@omniq.task` beside its own; that is more, not less."""
    return re.sub(r"(SyncTaskFunction(\[[^]]*\])) \| TaskFunction\2", r"\1", annotation)


def test_attributes_are_there_too(app: OmniQ) -> None:
    @app.task
    def work() -> None: ...

    handle, group = work.enqueue(), work.map([])
    with app.workers(concurrency=2, queues=["q"]) as pool:
        for twin in (app, work, handle, group, pool, app.workers()):
            original = twin._async
            public = [name for name in vars(original) if not name.startswith("_")]
            assert public or original.__class__ is Workers
            assert [name for name in public if getattr(twin, name, public) is not getattr(original, name)] == []


@pytest.mark.parametrize(("original", "twin"), PAIRS)
def test_what_shows_itself_in_a_notebook_does_so_as_a_twin(original: type, twin: type) -> None:
    assert hasattr(twin, "_repr_mimebundle_") == hasattr(original, "_repr_mimebundle_")


@pytest.mark.parametrize(("original", "twin"), PAIRS)
def test_docstrings_are_adapted(original: type, twin: type) -> None:
    documented = [twin, *(each for each in members(twin).values() if inspect.isfunction(each))]
    for each in documented:
        text = inspect.getdoc(each) or ""
        assert not re.search(r"\bawait|\basync (with|for)\b|AsyncOmniQ|\bTaskHandle\b", text), text
    assert (inspect.getdoc(twin) is None) == (inspect.getdoc(original) is None)


# --- the generator ----------------------------------------------------------------------------------------------------


def generate(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, as far as the generator is concerned."""
    for folder in ("scripts", "omniq_nb"):
        ignored = shutil.ignore_patterns("__pycache__", "static")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_what_is_there_is_what_would_be_generated() -> None:
    done = generate(GENERATOR, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_drift_is_found_shown_and_mended(copy: Path) -> None:
    script = copy / "scripts" / "generate_sync.py"
    handles, generated = copy / "omniq_nb/omniq/handles.py", copy / "omniq_nb/omniq/sync/handles.py"
    source = handles.read_text()
    marker = "    async def task(self) -> Task:"
    assert marker in source
    added = (
        '    async def age(self, *, unit: str = "s") -> float:\n        """Await its age."""\n        return 1.0\n\n'
    )
    handles.write_text(source.replace(marker, added + marker))
    before = generated.read_text()

    done = generate(script, "--check")
    assert done.returncode == 1
    assert '+    def age(self, *, unit: str = "s") -> float:' in done.stdout
    assert "make sync" in done.stderr
    assert generated.read_text() == before

    assert generate(script).returncode == 0
    assert "self._run(self._async.age(unit=unit))" in generated.read_text()
    assert '"""Wait for its age."""' in generated.read_text()
    assert generate(script, "--check").returncode == 0


def test_an_edit_by_hand_is_found(copy: Path) -> None:
    generated = copy / "omniq_nb/omniq/sync/handles.py"
    generated.write_text(generated.read_text().replace("def cancel(", "def stop("))
    done = generate(copy / "scripts" / "generate_sync.py", "--check")
    assert done.returncode == 1
    assert "-    def stop(self)" in done.stdout


def test_what_the_generator_can_not_translate_is_refused(copy: Path) -> None:
    handles = copy / "omniq_nb/omniq/handles.py"
    marker = "    async def task(self) -> Task:"
    added = "    async def pairs(self) -> dict[str, TaskHandle[T]]:\n        return {}\n\n"
    handles.write_text(handles.read_text().replace(marker, added + marker, 1))
    done = generate(copy / "scripts" / "generate_sync.py")
    assert done.returncode == 2
    assert "don't know how to make twins in a dict[str, TaskHandle[T]]" in done.stderr


def test_generated_files_say_so() -> None:
    by_hand = {"__init__.py", "portal.py", "twin.py"}
    for path in (ROOT / "omniq_nb/omniq/sync").glob("*.py"):
        is_generated = path.read_text().startswith("# Generated from omniq/")
        assert is_generated == (path.name not in by_hand), path.name
