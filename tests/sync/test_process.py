"""Scripts: from start to end of a process, and its forks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from omniq import OmniQ, TaskStatus

Script = Callable[[str], "CompletedProcess[str]"]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def statuses(path: Path) -> dict[str, int]:
    """What the store says of its tasks, asked from this process."""
    with OmniQ(f"sqlite:///{path}") as app:
        return app.stats().totals


def test_a_script(script: Script) -> None:
    done = script("""
from omniq import OmniQ

with OmniQ() as app:
    @app.task
    def double(x):
        return 2 * x

    with app.workers() as pool:
        print(double.map(range(5)).results())
""")
    assert (done.stdout, done.stderr, done.returncode) == ("[0, 2, 4, 6, 8]\n", "", 0)


def test_the_sync_package_loads_when_it_is_used(script: Script) -> None:
    done = script("""
import sys
import omniq
assert not any(name.startswith("omniq.sync") for name in sys.modules)
omniq.OmniQ
assert "omniq.sync.app" in sys.modules
assert "omniq.sync.sqlite" not in sys.modules
assert "polars" not in sys.modules
""")
    assert (done.stderr, done.returncode) == ("", 0)


def test_an_exit_without_close_loses_nothing(script: Script, tmp_path: Path) -> None:
    # Plain functions run in the threads of an executor that Python ends early: none may fail for that.
    done = script("""
import signals
from omniq import OmniQ

app = OmniQ("sqlite:///left.db")

@app.task(max_retries=0)
def work(x):
    signals.started.set()
    return x

group = work.map(range(2000))
app.workers(concurrency=4).start()
stream = app.stream_events()
signals.started.wait()
""")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    counts = statuses(tmp_path / "left.db")
    assert sum(counts.values()) == 2000
    assert set(counts) <= {TaskStatus.SUCCEEDED, TaskStatus.PENDING}
    assert counts[TaskStatus.SUCCEEDED] > 0


def test_an_exit_without_close_lets_running_tasks_end(script: Script, tmp_path: Path) -> None:
    done = script("""
import asyncio
import threading
import signals
from omniq import OmniQ

app = OmniQ("sqlite:///left.db")

@app.task
async def work():
    signals.started.set()
    while not signals.may_end.is_set():
        await asyncio.sleep(0.01)

work.enqueue()
pool = app.workers().start()
signals.started.wait()
threading.Timer(0.5, signals.may_end.set).start()
""")
    assert (done.stderr, done.returncode) == ("", 0)
    assert statuses(tmp_path / "left.db") == {TaskStatus.SUCCEEDED: 1}


def test_an_exit_in_the_middle_of_a_stream_and_after_an_error(script: Script) -> None:
    done = script("""
import threading
from omniq import OmniQ

app = OmniQ("memory://left")

@app.task
def work(): ...

stop = threading.Event()
def make():
    while not stop.wait(0.01):
        work.enqueue()
maker = threading.Thread(target=make)
maker.start()
for event in app.stream_events():
    break
stream = app.stream_events()
next(stream)
stop.set()
maker.join()
raise SystemExit("wanted")
""")
    assert (done.stderr, done.returncode) == ("wanted\n", 1)


def test_a_callback_at_exit_may_still_close_its_app(script: Script) -> None:
    done = script("""
import atexit
from omniq import OmniQ

app = OmniQ("memory://left")
app.open()
atexit.register(lambda: (app.close(), print("closed", app.is_open)))
""")
    assert (done.stdout, done.stderr, done.returncode) == ("closed False\n", "", 0)


@forks
def test_a_fork_opens_the_app_anew(script: Script, tmp_path: Path) -> None:
    done = script("""
import os
import warnings
from omniq import OmniQ
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads

app = OmniQ("sqlite:///forked.db")

@app.task
def work(x):
    return x

before = work.enqueue(1)
child = os.fork()
if not child:
    assert app.stats().totals == {"pending": 1}
    assert before.status() == "pending"
    work.enqueue(2)
    with app.workers() as pool:
        pool.drain()
        assert before.result() == 1
    raise SystemExit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert before.result() == 1
assert app.stats().totals == {"succeeded": 2}
work.enqueue(3)
""")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert statuses(tmp_path / "forked.db") == {TaskStatus.SUCCEEDED: 2, TaskStatus.PENDING: 1}


@forks
def test_a_storage_of_the_parents_is_refused_in_the_child(script: Script) -> None:
    done = script("""
import os
import warnings
from omniq import OmniQError, SQLiteQueue
warnings.simplefilter("ignore", DeprecationWarning)

queue = SQLiteQueue("forked.db")
queue.open()
child = os.fork()
if not child:
    try:
        queue.stats()
    except OmniQError as error:
        assert "before the process forked" in str(error)
        with SQLiteQueue("forked.db") as own:
            own.stats()
        os._exit(0)
    os._exit(1)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert queue.stats() == {}
""")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_task_that_calls_another_one_travels_to_a_process_of_its_own(script: Script, tmp_path: Path) -> None:
    sending = script("""
from omniq import OmniQ

with OmniQ("sqlite:///travel.db") as app:
    @app.task
    def inner(x):
        return x * 10

    @app.task
    def outer(x):
        return inner.enqueue(x).result() + 1

    inner.enqueue(0)
    print(outer.enqueue(4).id)
""")
    assert sending.stderr == ""
    working = script(f"""
import asyncio
from omniq import AsyncOmniQ

async def work():
    async with AsyncOmniQ("sqlite:///travel.db") as app, app.workers():
        @app.task
        def inner(x):
            return x * 10

        print(await app.handle({sending.stdout.strip()!r}).result(timeout=60))

asyncio.run(work())
""")
    assert (working.stdout, working.stderr) == ("41\n", "")
