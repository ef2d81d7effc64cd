# Generated from omniq/app.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.app` without ``await``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar, Unpack, overload

from ..app import AsyncOmniQ
from ..config import Config
from ..handles import GroupProgress
from ..models.event import TaskEvent
from ..models.result import TaskResult
from ..models.task import Statuses, Task, TaskStatus
from ..models.worker import DEFAULT_CONCURRENCY, WorkerType
from ..options import TaskOptions
from ..queue_manager import Stats
from ..registry import Registry
from ..tasks import TaskFunction
from .handles import SyncGroupHandle, SyncTaskHandle
from .pools import SyncWorkers
from .queue_manager import SyncQueueManager
from .tasks import SyncTaskFunction
from .twin import AppTwin, DisplayedTwin, inner
from .worker_pool import SyncWorkerPool

if TYPE_CHECKING:
    import polars as pl

    from ..health import Health
    from ..storage.queue import TaskPage

P = ParamSpec("P")
R = TypeVar("R")


class OmniQ(AppTwin, DisplayedTwin):
    """A task queue.

    It opens its stores when it is first used. Its calls block; the work is done by a thread in the background.
    So it can be used in a script, a thread or a cell, whether or not an event loop runs there.

    Args:
        url: One store for everything; ``./.omniq/omniq.db`` unless given.
        **fields: The other fields of `Config`.

    Example:
        >>> with OmniQ() as app:
        ...     @app.task()
        ...     async def double(x: int) -> int:
        ...         return 2 * x
        ...     with app.workers():
        ...         print(double.enqueue(21).result())
        42

    Raises:
        ConfigError: A field is unknown or has a value that it can't have.
    """

    _async: AsyncOmniQ
    _async_class: ClassVar[type[AsyncOmniQ]] = AsyncOmniQ

    def __init__(self, url: str | None = None, **fields: Any) -> None:
        self._adopt(self._async_class(url, **fields))

    @property
    def config(self) -> Config:
        return self._async.config

    @property
    def registry(self) -> Registry:
        return self._async.registry

    @classmethod
    def from_config(cls, source: Config | Mapping[str, Any] | str | Path | None = None, **fields: Any) -> Self:
        """An app from a `Config`, a mapping or a YAML file; ``OMNIQ_*`` variables and keyword arguments go before it.

        Raises:
            ConfigError: A field is unknown or has a value that it can't have, or the file can't be read.
        """
        return cls._of(cls._async_class.from_config(source, **fields))

    def open(self) -> None:
        """Open the stores. Calls that need them do it themselves.

        Raises:
            StoreError: A store can't be used.
        """
        self._run(self._async.open())

    def close(self) -> None:
        """Stop this app's workers and let go of the stores.

        What was begun goes on when the call is interrupted; the workers hand back at once then.
        """
        self._run(self._async.close())

    def __enter__(self) -> Self:
        self._run(self._async.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._async.__aexit__(*_))

    @property
    def is_open(self) -> bool:
        """Whether the stores are open."""
        return self._async.is_open

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called, and `open` not again."""
        return self._async.is_closed

    def health(self, timeout: float = 5.0) -> Health:
        """Ask every store whether it answers; raises nothing that a store has to say.

        Args:
            timeout: Seconds after which a store counts as not answering.
        """
        return self._run(self._async.health(timeout))

    def configure(self, **fields: Any) -> None:
        """Change settings of the app while it runs; workers that run already keep theirs.

        Raises:
            ConfigError: A field is unknown, has a value that it can't have, or says where a store is: those that are
                open stay.
        """
        self._async.configure(**fields)

    @overload
    def task(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> SyncTaskFunction[P, R]: ...
    @overload
    def task(self, func: Callable[P, R], /) -> SyncTaskFunction[P, R]: ...
    @overload
    def task(
        self, func: None = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[P, Any]], SyncTaskFunction[P, Any]]: ...
    def task(
        self, func: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]
    ) -> Any:
        """Make a function a task of this app: ``@app.task`` or ``@app.task(queue="io", timeout=30)``.

        Raises:
            OptionError: An option is unknown or has a value that it can't have.
            DuplicateFunctionError: Another function has the name.
        """
        overloaded: Any = self._async.task
        return (
            SyncTaskFunction(found, self._home)
            if isinstance(found := overloaded(func, name=name, **options), TaskFunction)
            else lambda *args: SyncTaskFunction(found(*args), self._home)
        )

    def enqueue(
        self,
        func: str | SyncTaskFunction[..., Any] | TaskFunction[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[TaskOptions],
    ) -> SyncTaskHandle[Any]:
        """Send one call to the workers.

        Args:
            func: A task function, or its name; a name may be one that only the workers know.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            **options: See `TaskOptions`; they go before the function's own.

        Raises:
            OptionError: An option is unknown or has a value that it can't have.
            SerializationError: An argument, or the function, can't be sent.
            DuplicateTaskError: ``task_id`` was given, and there is a task with that id.
        """
        return SyncTaskHandle(
            self._run(
                self._async.enqueue(
                    inner(func) if isinstance(func, SyncTaskFunction) else func, args, kwargs, **options
                )
            ),
            self._home,
        )

    def enqueue_call(
        self, task: SyncTaskFunction[..., R] | TaskFunction[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> SyncTaskHandle[R]:
        """Send one call of a task function; `SyncTaskFunction.enqueue` comes here."""
        return SyncTaskHandle(
            self._run(
                self._async.enqueue_call(inner(task) if isinstance(task, SyncTaskFunction) else task, args, kwargs)
            ),
            self._home,
        )

    def enqueue_calls(
        self, task: SyncTaskFunction[..., R] | TaskFunction[..., R], calls: Sequence[Sequence[Any]]
    ) -> SyncGroupHandle[R]:
        """Send many calls of a task function; `SyncTaskFunction.map` comes here."""
        return SyncGroupHandle(
            self._run(self._async.enqueue_calls(inner(task) if isinstance(task, SyncTaskFunction) else task, calls)),
            self._home,
        )

    def handle(self, task_id: str) -> SyncTaskHandle[Any]:
        """A handle on a task that was enqueued before, here or elsewhere."""
        return SyncTaskHandle(self._async.handle(task_id), self._home)

    def group(self, handles: Sequence[SyncTaskHandle[R]]) -> SyncGroupHandle[R]:
        """A group of handles, to wait for and watch them together."""
        return SyncGroupHandle(self._async.group([inner(each) for each in handles]), self._home)

    def get_task(self, task_id: str) -> Task:
        """One task as it is now.

        Raises:
            TaskNotFoundError: There is none with this id.
        """
        return self._run(self._async.get_task(task_id))

    def list_tasks(
        self,
        *,
        queue: str | None = None,
        status: TaskStatus | str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        newest_first: bool = True,
    ) -> TaskPage:
        """A page of tasks; ``page.cursor`` continues after it.

        Args:
            queue: Only of this queue.
            status: Only in this status.
            limit: At most so many.
            cursor: From the page before.
            newest_first: Or the oldest.
        """
        return self._run(
            self._async.list_tasks(queue=queue, status=status, limit=limit, cursor=cursor, newest_first=newest_first)
        )

    def dead_letters(self, *, queue: str | None = None, limit: int = 100, cursor: str | None = None) -> TaskPage:
        """A page of the tasks that failed for good. `retry_task` puts one back."""
        return self._run(self._async.dead_letters(queue=queue, limit=limit, cursor=cursor))

    def cancel_task(self, task_id: str) -> Task:
        """Take a task out of the queue, or stop it if it runs.

        Raises:
            TaskNotFoundError: There is none with this id.
            TaskStateError: It has ended already.
        """
        return self._run(self._async.cancel_task(task_id))

    def retry_task(self, task_id: str) -> Task:
        """Put a task that ended without success back into the queue.

        Raises:
            TaskNotFoundError: There is none with this id.
            TaskStateError: It waits, runs or has succeeded.
        """
        return self._run(self._async.retry_task(task_id))

    def cancel_tasks(self, task_ids: Sequence[str]) -> int:
        """Cancel those of the tasks that have not ended; says how many."""
        return self._run(self._async.cancel_tasks(task_ids))

    def retry_failed(self, task_ids: Sequence[str]) -> int:
        """Put those of the tasks that failed back into the queue; says how many."""
        return self._run(self._async.retry_failed(task_ids))

    def progress(self, task_ids: Sequence[str]) -> GroupProgress:
        """How far these tasks have come."""
        return self._run(self._async.progress(task_ids))

    def get_result(self, task_id: str) -> TaskResult | None:
        """What became of a task, or ``None`` while it goes on.

        Raises:
            TaskNotFoundError: There is no task with this id.
        """
        return self._run(self._async.get_result(task_id))

    def wait_for_result(self, task_id: str, timeout: float | None = None) -> TaskResult:
        """Wait until a task has ended, however it did, and give its result.

        Raises:
            ResultTimeoutError: It has not ended in ``timeout`` seconds; it goes on.
            TaskNotFoundError: There is no task with this id.
        """
        return self._run(self._async.wait_for_result(task_id, timeout))

    def wait_for_value(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait for what a task's function returns; see `SyncTaskHandle.result`."""
        return self._run(self._async.wait_for_value(task_id, timeout))

    @property
    def queues(self) -> SyncQueueManager:
        """The queues as such: their names and figures, pause, move, purge."""
        return SyncQueueManager(self._async.queues, self._home)

    def stats(self) -> Stats:
        """How many tasks each queue has in each status, what is paused, and who works."""
        return self._run(self._async.stats())

    def pause_queue(self, queue: str) -> None:
        """Have no worker take tasks from a queue; those that run go on."""
        self._run(self._async.pause_queue(queue))

    def resume_queue(self, queue: str) -> None:
        """Have workers take tasks from a queue again."""
        self._run(self._async.resume_queue(queue))

    def purge(
        self, *, queue: str | None = None, status: Statuses | None = None, older_than: float | timedelta | None = None
    ) -> int:
        """Delete tasks and their results; says how many tasks.

        Args:
            queue: Only of this queue.
            status: In this status or these; unless given, all that have ended but the dead letters.
            older_than: Only those that last changed so many seconds ago.

        Raises:
            OptionError: There is no such status, or running tasks were asked for: cancel them first.
        """
        return self._run(self._async.purge(queue=queue, status=status, older_than=older_than))

    def events(
        self,
        *,
        task_id: str | None = None,
        types: str | Collection[str] = (),
        queue: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """What happened, as a polars frame with one row per event, sorted by ``ts``.

        Args:
            task_id: Only to this task.
            types: Only of these types; ``"task.*"`` stands for all that begin like it.
            queue: Only in this queue.
            since: At or after this moment.
            until: Before this moment.
            limit: At most so many, the latest ones.
        """
        return self._run(
            self._async.events(task_id=task_id, types=types, queue=queue, since=since, until=until, limit=limit)
        )

    def stream_events(
        self, *, task_id: str | None = None, types: str | Collection[str] = (), queue: str | None = None
    ) -> Iterator[TaskEvent]:
        """Events as they come, from now on, for ever; the conditions are those of `events`."""
        return self._iterate(self._async.stream_events(task_id=task_id, types=types, queue=queue), "stream_events")

    def workers(
        self,
        kind: WorkerType | str = WorkerType.ASYNC,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        queues: Sequence[str] | None = None,
    ) -> SyncWorkers:
        """Workers in the background: ``with app.workers(concurrency=4) as pool: pool.drain()``.

        Args:
            kind: ``"async"``: coroutine functions run on the loop, others in threads; ``"thread"``: all in threads.
            concurrency: Tasks at a time.
            queues: In order of preference; every queue unless given.

        Raises:
            OptionError: ``kind`` or ``concurrency`` is not possible.
        """
        return SyncWorkers(self._async.workers(kind, concurrency=concurrency, queues=queues), self._home)

    def make_pool(self, kind: WorkerType, concurrency: int, queues: Sequence[str] | None) -> SyncWorkerPool:
        """A worker pool that is not started; `workers` is the way to a running one."""
        return SyncWorkerPool(self._run(self._async.make_pool(kind, concurrency, queues)), self._home)

    def forget_pool(self, pool: SyncWorkerPool) -> None:
        """A pool was stopped and needs no stopping when the app is closed."""
        self._async.forget_pool(inner(pool))
