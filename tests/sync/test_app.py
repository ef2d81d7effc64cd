"""The synchronous app does what the asynchronous one does."""

from __future__ import annotations

import asyncio
import itertools
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import omniq
import pytest
from omniq import (
    AsyncOmniQ,
    MemoryQueue,
    OmniQ,
    ResultTimeoutError,
    SQLiteEventStorage,
    SQLiteQueue,
    SQLiteResultStorage,
    SQLiteScheduleStorage,
    TaskCancelled,
    TaskFailed,
    TaskStateError,
    TaskStatus,
    WorkerType,
)
from omniq.errors import NotOpenError
from omniq.models.event import TaskEvent
from omniq.models.task import TaskSpec
from omniq.sync.handles import SyncGroupHandle, SyncTaskHandle
from omniq.sync.tasks import SyncTaskFunction


def test_functions_of_both_kinds_run_under_both_kinds_of_workers(app: OmniQ) -> None:
    @app.task
    def plain(x: int) -> int:
        return x + 1

    @app.task(queue="other")
    async def coroutine(x: int) -> int:
        return x + 2

    for kind in (WorkerType.ASYNC, WorkerType.THREAD_POOL):
        with app.workers(kind, concurrency=4) as pool:
            assert plain.enqueue(1).result() == 2
            assert coroutine.enqueue(1).result() == 3
            pool.drain()
            assert pool.concurrency == 4


def test_a_task_function_is_still_the_function(app: OmniQ) -> None:
    @app.task(priority=3)
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert isinstance(add, SyncTaskFunction)
    assert (add(1), add(1, b=4)) == (2, 5)
    assert (add.__name__, add.__doc__, add.name) == ("add", "Adds.", "add")
    handle = add.options(priority=9, queue="q").enqueue(1)
    task = handle.task()
    assert (task.priority, task.queue, add.enqueue(1).task().priority) == (9, "q", 3)


def test_a_handle(app: OmniQ) -> None:
    @app.task
    def work() -> str:
        return "done"

    handle = work.enqueue()
    assert isinstance(handle, SyncTaskHandle)
    assert handle.status() is TaskStatus.PENDING
    with pytest.raises(ResultTimeoutError):
        handle.result(timeout=0.01)
    handle.cancel()
    with pytest.raises(TaskCancelled):
        handle.result()
    with pytest.raises(TaskStateError):
        handle.cancel()
    handle.retry()
    with app.workers():
        assert handle.wait().value == "done"
    found = app.handle(handle.id)
    assert (found.result(), found.status()) == ("done", TaskStatus.SUCCEEDED)
    assert repr(handle).startswith("<SyncTaskHandle work ")
    assert handle.app == app


def test_a_group(app: OmniQ) -> None:
    @app.task(max_retries=0)
    def invert(x: int) -> float:
        return 1 / x

    group = invert.map([1, 2, 4])
    assert isinstance(group, SyncGroupHandle)
    assert group.progress().counts == {TaskStatus.PENDING: 3}
    with app.workers():
        assert group.results() == [1, 0.5, 0.25]
        assert sorted(handle.result() for handle in group.as_completed()) == [0.25, 0.5, 1]
        with_error = invert.map([1, 0])
        first, second = with_error.settled()
    assert (len(group), group[1].result(), [each.id for each in group[1:]]) == (3, 0.5, group.ids[1:])
    assert group[2] in group
    assert group[0] not in with_error
    assert first == 1
    assert isinstance(second, TaskFailed)
    assert with_error.retry_failed() == 1
    assert with_error.cancel() == 1
    assert app.group([group[0], with_error[0]]).results() == [1, 1]


def test_by_name_and_by_function(app: OmniQ) -> None:
    @app.task
    def work(x: int, y: int = 0) -> int:
        return x + y

    @omniq.task(name="of_no_app")
    def other(x: int) -> int:
        return -x

    with app.workers():
        assert app.enqueue("work", args=(1,), kwargs={"y": 2}).result() == 3
        assert app.enqueue(work, (5,)).result() == 5
        assert app.enqueue(other, (5,)).result() == -5


def test_what_went_wrong_is_told_with_both_tracebacks(app: OmniQ) -> None:
    @app.task(max_retries=0)
    def fail() -> None:
        raise ZeroDivisionError("in the task")

    with app.workers(), pytest.raises(TaskFailed) as caught:
        fail.enqueue().result()
    assert "ZeroDivisionError: in the task" in caught.value.remote_traceback
    shown = "".join(traceback.format_exception(caught.value))
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[0] == "test_what_went_wrong_is_told_with_both_tracebacks"
    assert "wait_for_value" in frames  # the coroutine's own frames follow the caller's
    assert "Traceback on the worker" in shown


def test_queues_and_tasks(app: OmniQ) -> None:
    @app.task(queue="io")
    def work() -> None: ...

    handle = work.enqueue()
    app.pause_queue("io")
    assert app.stats().paused == {"io"}
    app.resume_queue("io")
    assert [task.id for task in app.list_tasks(queue="io").tasks] == [handle.id]
    app.cancel_task(handle.id)
    assert app.retry_task(handle.id).status is TaskStatus.PENDING
    app.cancel_task(handle.id)
    assert (app.get_result(handle.id) or handle.wait()).status is TaskStatus.CANCELLED
    assert app.purge() == 1
    assert app.dead_letters().tasks == []


def test_events(app: OmniQ) -> None:
    @app.task
    def work() -> None: ...

    handle = work.enqueue()
    with app.workers():
        handle.result()
    frame = app.events(task_id=handle.id)
    assert frame["event_type"].to_list() == ["task.enqueued", "task.started", "task.succeeded"]


def test_a_stream_gives_events_as_they_come_and_ends_when_it_is_closed(app: OmniQ) -> None:
    @app.task
    def work() -> None: ...

    stream = app.stream_events(types="task.enqueued")
    first = _next_while(stream, work.enqueue)
    assert (first.event_type, first.func) == ("task.enqueued", "work")
    work.enqueue()
    assert next(stream).func == "work"
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    with pytest.raises(StopIteration):
        next(stream)


def _next_while(stream: Iterator[TaskEvent], make: Callable[[], object]) -> TaskEvent:
    """The stream's first event. What was made before the stream began is not in it, so more is made until one is."""
    found = threading.Event()

    def make_until_found() -> None:
        while not found.wait(0.02):
            make()

    maker = threading.Thread(target=make_until_found)
    maker.start()
    try:
        return next(stream)
    finally:
        found.set()
        maker.join()


def test_life_cycle(tmp_path: Path) -> None:
    app = OmniQ.from_config({"url": f"sqlite:///{tmp_path / 'omniq.db'}"})
    assert isinstance(app, OmniQ)
    assert not app.is_open
    app.open()
    assert app.is_open
    app.close()
    assert not app.is_open
    with pytest.raises(NotOpenError):
        app.stats()
    with app:
        assert app.stats().queues == {}


def test_storages(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with SQLiteQueue(path) as queue:
        assert queue.enqueue(TaskSpec("work", b""), "1")
        assert not queue.enqueue(TaskSpec("work", b""), "1")
        assert queue.get("1").func == "work"
        queue.note(TaskEvent(1, "queue.noted", queue="q"))
        queue.flush_events()
        queue.pause("default")
        assert queue.paused() == {"default"}
        (outcome,) = SQLiteResultStorage(queue.driver).outcomes(["1"])
        assert outcome is not None
    with SQLiteEventStorage(path) as events:
        assert set(events.frame()["event_type"]) == {"task.enqueued", "queue.noted", "queue.paused"}
    with SQLiteScheduleStorage(path) as schedules:
        assert schedules.list_schedules() == []
    with MemoryQueue("of-this-test") as memory:
        assert memory.stats() == {}


def test_every_component_of_every_backend_is_exported() -> None:
    for backend, part in itertools.product(
        ("SQLite", "Memory"), ("Queue", "ResultStorage", "EventStorage", "ScheduleStorage")
    ):
        assert getattr(omniq, backend + part)._async_class is getattr(omniq, f"Async{backend}{part}")


def test_a_memory_app() -> None:
    with OmniQ("memory://sync-test") as app:

        @app.task
        async def work(x: int) -> int:
            return x

        with app.workers() as pool:
            group = work.map(range(500))
            pool.drain()
            assert group.results() == list(range(500))


async def test_a_blocking_face_of_an_app_on_another_loop(tmp_path: Path) -> None:
    async with AsyncOmniQ(f"sqlite:///{tmp_path / 'omniq.db'}") as app:

        @app.task
        def outer(x: int) -> int:
            blocking = OmniQ.over(omniq.current())  # a thread of the pool: it may block
            return int(blocking.enqueue("inner", (x,)).result()) + 1

        @app.task
        async def inner(x: int) -> int:
            return x * 10

        async with app.workers():
            assert await (await outer.enqueue(4)) == 41
            assert (await asyncio.to_thread(OmniQ.over(app).stats)).totals["succeeded"] == 2
        assert app.is_open
