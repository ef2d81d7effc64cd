"""The app: where stores, queue, functions and workers are put together, and what users call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, overload

from .clock import from_datetime, micros
from .config import COMPONENTS, Config
from .current import current, find_current, set_current
from .display import Displayed
from .errors import ConfigError, NotOpenError, OmniQError, OptionError, TaskNotFoundError
from .handles import GroupHandle, GroupProgress, TaskHandle
from .models.event import TaskEvent
from .models.record import EventFilter
from .models.result import TaskResult
from .models.task import Statuses, Task, TaskStatus, status_of
from .models.worker import DEFAULT_CONCURRENCY, WorkerType
from .options import TaskOptions, make_plan, merge
from .outcomes import result_of, value_of, wait_for_outcome
from .pools import Workers, make_pool
from .queue_manager import QueueManager, Stats
from .registry import DEFAULT, Registered, Registry
from .sending import send
from .storage.endings import Ending, all_of, each_of
from .storage.results import StoredOutcome
from .tasks import TaskFunction, register

if TYPE_CHECKING:
    import polars as pl

    from .health import Health
    from .parts import Parts
    from .storage.driver import Driver
    from .storage.queue import BaseTaskQueue, TaskPage
    from .workers.pool import WorkerPool

P = ParamSpec("P")
R = TypeVar("R")

_FIXED = {"url", *COMPONENTS, "large_values", "large_value_bytes", "storage_options", "secret", "durability"}
"""Fields that only the opening of an app looks at."""


def _no_task(value: object) -> OptionError:
    if inspect.iscoroutine(value):
        value.close()  # else Python would complain, later, that nobody awaited it
        return OptionError(f"{value.__name__}() was called: pass the function itself, and its arguments after it")
    name = getattr(value, "__name__", None) or repr(value)
    return OptionError(f"{name} is no task: write @omniq.task above its definition, or pass its registered name")


def _limit(value: int) -> int:
    if value < 1:
        raise OptionError(f"limit must be at least 1, not {value}")
    return value


class AsyncOmniQ(Displayed):
    """A task queue.

    It opens its stores when it is first used, on the loop that is running then, and belongs to that loop.

    Args:
        url: One store for everything; ``./.omniq/omniq.db`` unless given.
        **fields: The other fields of `Config`.

    Example:
        >>> async with AsyncOmniQ() as app:
        ...     @app.task()
        ...     async def double(x: int) -> int:
        ...         return 2 * x
        ...     async with app.workers():
        ...         print(await (await double.enqueue(21)))
        42

    Raises:
        ConfigError: A field is unknown or has a value that it can't have.
    """

    def __init__(self, url: str | None = None, **fields: Any) -> None:
        self.config: Config = Config.load(None, url=url, **fields).pinned()
        self.registry = Registry()
        self._parts: Parts | None = None
        self._opening: asyncio.Task[Parts] | None = None
        self._closed = False
        self._ending = Ending()
        self._pools: list[WorkerPool] = []
        # Not where a thread's loop in the background runs it: code on another loop could not await the current app.
        self._becomes_current = True

    @classmethod
    def from_config(cls, source: Config | Mapping[str, Any] | str | Path | None = None, **fields: Any) -> Self:
        """An app from a `Config`, a mapping or a YAML file; ``OMNIQ_*`` variables and keyword arguments go before it.

        Raises:
            ConfigError: A field is unknown or has a value that it can't have, or the file can't be read.
        """
        app = cls.__new__(cls)
        AsyncOmniQ.__init__(app)
        app.config = Config.load(source, **fields).pinned()
        return app

    # --- life cycle ---

    async def open(self) -> None:
        """Open the stores. Calls that need them do it themselves.

        Raises:
            StoreError: A store can't be used.
        """
        await self._ending.wait()
        self._closed = False
        await self._open_parts()

    async def close(self) -> None:
        """Stop this app's workers and let go of the stores.

        What was begun goes on when the call is interrupted; the workers hand back at once then.
        """
        try:
            await self._ending.run(self._close)
        except asyncio.CancelledError:
            for pool in self._pools:
                pool._hurry()  # noqa: SLF001 -- one who waits for all pools is no caller of each
            raise

    async def _close(self) -> None:
        # Tasks that end in order may need the stores, so these go last.
        await each_of(self._stop_pools, self._let_go)

    async def _stop_pools(self) -> None:
        while pools := tuple(self._pools):
            try:
                # At once: what one takes no more, another one must not, and each may take its grace.
                await all_of(*(pool.stop for pool in pools))
            finally:
                for pool in pools:
                    self.forget_pool(pool)

    async def _let_go(self) -> None:
        self._closed = True
        opening = self._opening
        if opening is not None and opening.get_loop() is asyncio.get_running_loop():
            opening.cancel()
            await asyncio.wait([opening])
        parts, self._parts, self._opening = self._parts, None, None
        if find_current() is self:
            set_current(None)
        if parts is not None:
            await parts.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        """Whether the stores are open."""
        return self._parts is not None

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called, and `open` not again."""
        return self._closed

    async def health(self, timeout: float = 5.0) -> Health:
        """Ask every store whether it answers; raises nothing that a store has to say.

        Args:
            timeout: Seconds after which a store counts as not answering.
        """
        from .health import check

        return await check(self.config, self._parts, timeout)

    def configure(self, **fields: Any) -> None:
        """Change settings of the app while it runs; workers that run already keep theirs.

        Raises:
            ConfigError: A field is unknown, has a value that it can't have, or says where a store is: those that are
                open stay.
        """
        fixed = _FIXED & fields.keys()
        if fixed and self._parts is not None:
            raise ConfigError(f"{min(fixed)} can't be changed while the app is open: close it, or make another one")
        self.config = self.config.updated(**fields).pinned()
        if self._parts is not None:
            self._parts.configure(self.config)

    async def _ready(self) -> Parts:
        parts = self._parts
        if parts is not None and parts.loop is asyncio.get_running_loop():
            return parts
        return await self._open_parts()

    async def _open_parts(self) -> Parts:
        if self._closed:
            raise NotOpenError(type(self).__name__)
        if self._parts is not None:
            if self._parts.loop is not asyncio.get_running_loop():
                raise OmniQError(
                    "this app belongs to another event loop: make one app per loop, or use OmniQ, which has its own"
                )
            return self._parts
        opening = self._opening
        if opening is None or opening.done() or opening.get_loop() is not asyncio.get_running_loop():
            # What another loop had under way has ended with it.
            opening = self._opening = asyncio.create_task(self._make_parts())
        try:
            # Whoever waits may be cancelled; the others wait for the same opening.
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if opening.cancelled() and caller is not None and not caller.cancelling():
                raise NotOpenError(type(self).__name__) from None  # it was closed meanwhile
            raise
        finally:
            if opening.done() and self._opening is opening:
                self._opening = None

    async def _make_parts(self) -> Parts:
        from .parts import Parts  # stores and workers load when an app is first used

        parts = Parts(self.config, self.registry)
        await parts.open()
        self._parts = parts
        if self._becomes_current and find_current() is None:
            set_current(self)
        return parts

    # --- functions ---

    @overload
    def task(self, func: Callable[P, Coroutine[Any, Any, R]], /) -> TaskFunction[P, R]: ...
    @overload
    def task(self, func: Callable[P, R], /) -> TaskFunction[P, R]: ...
    @overload
    def task(
        self, func: None = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[P, Any]], TaskFunction[P, Any]]: ...
    def task(
        self, func: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]
    ) -> Any:
        """Make a function a task of this app: ``@app.task`` or ``@app.task(queue="io", timeout=30)``.

        Raises:
            OptionError: An option is unknown or has a value that it can't have.
            DuplicateFunctionError: Another function has the name.
        """
        if func is not None:
            return register(self.registry, func, name, options, lambda: self)
        return lambda func: register(self.registry, func, name, options, lambda: self)

    # --- enqueue ---

    async def enqueue(
        self,
        func: str | TaskFunction[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        connection: Any = None,
        **options: Unpack[TaskOptions],
    ) -> TaskHandle[Any]:
        """Send one call to the workers.

        Args:
            func: A task function, or its name; a name may be one that only the workers know.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            connection: An asyncpg connection with an open transaction: the task becomes a part of it, and exists once
                it is committed. For queues on PostgreSQL. Where events are on another store, there is none that says
                that the task was enqueued (``task.enqueued``): it could not be taken back with the transaction.
            **options: See `TaskOptions`; they go before the function's own.

        Raises:
            OptionError: An option is unknown or has a value that it can't have.
            SerializationError: An argument, or the function, can't be sent.
            DuplicateTaskError: ``task_id`` was given, and there is a task with that id.
        """
        if isinstance(args, str | bytes) or not isinstance(args, Sequence):
            raise OptionError(f"args is a list of the positional arguments: write [{args!r}]")
        if isinstance(func, str):
            name, entry = func, self._find(func)
            own: Any = entry.options if entry is not None and isinstance(entry.options, dict) else {}
        elif isinstance(func, TaskFunction):
            name, entry, own = func.name, self._entry(func), func.own_options
        else:
            raise _no_task(func)
        plan = make_plan(merge(own, options), self.config, name)
        calls = [(args, dict(kwargs or {}))]
        (task_id,) = await send(await self._ready(), name, entry, plan, calls, connection=connection)
        return TaskHandle(self, task_id, name)

    async def enqueue_call(
        self, task: TaskFunction[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskHandle[R]:
        """Send one call of a task function; `TaskFunction.enqueue` comes here."""
        plan = task.plan(self.config)
        (task_id,) = await send(await self._ready(), task.name, self._entry(task), plan, [(args, kwargs)])
        return TaskHandle(self, task_id, task.name)

    async def enqueue_calls(self, task: TaskFunction[..., R], calls: Sequence[Sequence[Any]]) -> GroupHandle[R]:
        """Send many calls of a task function; `TaskFunction.map` comes here."""
        plan = task.plan(self.config)
        if plan.task_id is not None:
            raise OptionError("task_id names one task, and map makes many: leave it out")
        no_names: Mapping[str, Any] = {}
        with_names = ((args, no_names) for args in calls)
        ids = await send(await self._ready(), task.name, self._entry(task), plan, with_names)
        return GroupHandle(self, ids, task.name)

    def _find(self, name: str) -> Registered | None:
        return self.registry.find(name) or DEFAULT.find(name)

    def _entry(self, task: TaskFunction[..., Any]) -> Registered:
        """What the task function's name means here; another app's function becomes one of this app's too."""
        return self._find(task.name) or self.registry.add(task.name, task.func, options=task.own_options)

    # --- tasks ---

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """A handle on a task that was enqueued before, here or elsewhere."""
        return TaskHandle(self, task_id)

    def group(self, handles: Sequence[TaskHandle[R]]) -> GroupHandle[R]:
        """A group of handles, to await and watch them together."""
        return GroupHandle(self, handles)

    async def get_task(self, task_id: str) -> Task:
        """One task as it is now.

        Raises:
            TaskNotFoundError: There is none with this id.
        """
        return await (await self._ready()).queue.get(task_id)

    async def list_tasks(
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
        wanted = None if status is None else status_of(status)
        queue_ = (await self._ready()).queue
        return await queue_.list_tasks(
            queue=queue, status=wanted, limit=_limit(limit), cursor=cursor, newest_first=newest_first
        )

    async def dead_letters(self, *, queue: str | None = None, limit: int = 100, cursor: str | None = None) -> TaskPage:
        """A page of the tasks that failed for good. `retry_task` puts one back."""
        return await self.list_tasks(queue=queue, status=TaskStatus.FAILED, limit=limit, cursor=cursor)

    async def cancel_task(self, task_id: str) -> Task:
        """Take a task out of the queue, or stop it if it runs.

        Raises:
            TaskNotFoundError: There is none with this id.
            TaskStateError: It has ended already.
        """
        return await (await self._ready()).queue.cancel(task_id)

    async def retry_task(self, task_id: str) -> Task:
        """Put a task that ended without success back into the queue.

        Raises:
            TaskNotFoundError: There is none with this id.
            TaskStateError: It waits, runs or has succeeded.
        """
        return await (await self._ready()).queue.retry(task_id)

    async def cancel_tasks(self, task_ids: Sequence[str]) -> int:
        """Cancel those of the tasks that have not ended; says how many."""
        return await (await self._ready()).queue.cancel_each(task_ids)

    async def retry_failed(self, task_ids: Sequence[str]) -> int:
        """Put those of the tasks that failed back into the queue; says how many."""
        return await (await self._ready()).queue.retry_failed(task_ids)

    async def progress(self, task_ids: Sequence[str]) -> GroupProgress:
        """How far these tasks have come."""
        counts: dict[TaskStatus, int] = {}
        for record in await (await self._ready()).queue.records(task_ids):
            if record is not None:
                status = TaskStatus(record.state)
                counts[status] = counts.get(status, 0) + 1
        return GroupProgress(len(task_ids), counts)

    # --- results ---

    async def get_result(self, task_id: str) -> TaskResult | None:
        """What became of a task, or ``None`` while it goes on.

        Raises:
            TaskNotFoundError: There is no task with this id.
        """
        parts = await self._ready()
        (outcome,) = await parts.results.outcomes([task_id])
        if outcome is None:
            raise TaskNotFoundError(task_id)
        return await result_of(parts, outcome) if isinstance(outcome, StoredOutcome) else None

    async def wait_for_result(self, task_id: str, timeout: float | None = None) -> TaskResult:
        """Wait until a task has ended, however it did, and give its result.

        Raises:
            ResultTimeoutError: It has not ended in ``timeout`` seconds; it goes on.
            TaskNotFoundError: There is no task with this id.
        """
        parts = await self._ready()
        return await result_of(parts, await wait_for_outcome(parts, task_id, timeout))

    async def wait_for_value(self, task_id: str, timeout: float | None = None) -> Any:
        """Wait for what a task's function returns; see `TaskHandle.result`."""
        return value_of(await self.wait_for_result(task_id, timeout))

    # --- queues ---

    @property
    def queues(self) -> QueueManager:
        """The queues as such: their names and figures, pause, move, purge."""
        return QueueManager(self._queue_and_events)

    async def _queue_and_events(self) -> tuple[BaseTaskQueue, Driver]:
        parts = await self._ready()
        return parts.queue, parts.events.driver

    async def stats(self) -> Stats:
        """How many tasks each queue has in each status, what is paused, and who works."""
        parts = await self._ready()
        queues = await parts.queue.stats()
        return Stats(queues, await parts.queue.paused(), await parts.workers.list_workers())

    async def pause_queue(self, queue: str) -> None:
        """Have no worker take tasks from a queue; those that run go on."""
        await (await self._ready()).queue.pause(queue)

    async def resume_queue(self, queue: str) -> None:
        """Have workers take tasks from a queue again."""
        await (await self._ready()).queue.resume(queue)

    async def purge(
        self,
        *,
        queue: str | None = None,
        status: Statuses | None = None,
        older_than: float | timedelta | None = None,
    ) -> int:
        """Delete tasks and their results; says how many tasks.

        Args:
            queue: Only of this queue.
            status: In this status or these; unless given, all that have ended but the dead letters.
            older_than: Only those that last changed so many seconds ago.

        Raises:
            OptionError: There is no such status, or running tasks were asked for: cancel them first.
        """
        parts = await self._ready()
        before = None if older_than is None else parts.queue.driver.clock() - micros(older_than, "older_than")
        return await parts.queue.purge(queue=queue, status=status, before=before)

    # --- events ---

    async def events(
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
        match = await self._event_filter(task_id, types, queue, since, until, limit)
        return await (await self._ready()).events.frame(match)

    async def stream_events(
        self, *, task_id: str | None = None, types: str | Collection[str] = (), queue: str | None = None
    ) -> AsyncIterator[TaskEvent]:
        """Events as they come, from now on, for ever; the conditions are those of `events`."""
        match = await self._event_filter(task_id, types, queue, None, None, None)
        parts = await self._ready()
        async for event in parts.events.stream(match, self.config.poll_interval):
            yield event

    async def _event_filter(
        self,
        task_id: str | None,
        types: str | Collection[str],
        queue: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int | None,
    ) -> EventFilter:
        after = None if since is None else from_datetime(since, "since")
        if task_id is not None and after is None:
            # A task has no events before it was made, and stores find events by time.
            (record,) = await (await self._ready()).queue.records([task_id])
            after = None if record is None else record.created_at
        return EventFilter(
            task_id=task_id,
            types=(types,) if isinstance(types, str) else tuple(types),
            queue=queue,
            since=after,
            until=None if until is None else from_datetime(until, "until"),
            limit=None if limit is None else _limit(limit),
        )

    # --- workers ---

    def workers(
        self,
        kind: WorkerType | str = WorkerType.ASYNC,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        queues: Sequence[str] | None = None,
    ) -> Workers:
        """Workers on this app's loop: ``async with app.workers(concurrency=4) as pool: await pool.drain()``.

        Args:
            kind: ``"async"``: coroutine functions run on the loop, others in threads; ``"thread"``: all in threads.
            concurrency: Tasks at a time.
            queues: In order of preference; every queue unless given.

        Raises:
            OptionError: ``kind`` or ``concurrency`` is not possible.
        """
        return Workers(self, kind, concurrency, queues)

    async def make_pool(self, kind: WorkerType, concurrency: int, queues: Sequence[str] | None) -> WorkerPool:
        """A worker pool that is not started; `workers` is the way to a running one."""
        pool = make_pool(await self._ready(), self.config, kind, concurrency, queues)
        self._pools.append(pool)
        return pool

    def forget_pool(self, pool: WorkerPool) -> None:
        """A pool was stopped and needs no stopping when the app is closed."""
        if pool in self._pools:
            self._pools.remove(pool)

    def __reduce__(self) -> tuple[Callable[[], AsyncOmniQ], tuple[()]]:
        # A task that refers to the app finds, in its worker, the app that runs it there.
        return current, ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config!r})"
