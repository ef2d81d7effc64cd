"""What enqueueing gives back: a handle on one task, a group of handles on many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from .clock import seconds
from .display import Displayed
from .errors import TaskError
from .models.result import TaskResult
from .models.task import Task, TaskStatus
from .storage.parallel import in_parallel

if TYPE_CHECKING:
    from .app import AsyncOmniQ

T = TypeVar("T")


class TaskHandle(Displayed, Generic[T]):
    """A task that was enqueued. Awaiting it gives what the function returned.

    Attributes:
        id: The task's id: `app.handle(id)` finds the task again, tomorrow or elsewhere.
    """

    def __init__(self, app: AsyncOmniQ, task_id: str, func: str = "") -> None:
        self._app = app
        self.id = task_id
        self.func = func

    @property
    def app(self) -> AsyncOmniQ:
        """The app that it asks."""
        return self._app

    def __await__(self) -> Generator[Any, None, T]:
        return self.result().__await__()

    async def result(self, timeout: float | timedelta | None = None) -> T:
        """What the function returned.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TaskFailed: It raised, and its retries are exhausted; the remote traceback is in the message.
            TaskCancelled: It was cancelled.
            TaskExpired: Its time to live ended before it could start.
            ResultTimeoutError: It has not ended in time; it goes on.
            TaskNotFoundError: It was purged.
        """
        limit = None if timeout is None else seconds(timeout, "timeout")
        value: T = await self._app.wait_for_value(self.id, limit)
        return value

    async def wait(self, timeout: float | timedelta | None = None) -> TaskResult:
        """Wait until the task has ended, however it did, and give its result.

        Raises:
            ResultTimeoutError: It has not ended in time; it goes on.
        """
        limit = None if timeout is None else seconds(timeout, "timeout")
        return await self._app.wait_for_result(self.id, limit)

    async def task(self) -> Task:
        """The task as it is now."""
        return await self._app.get_task(self.id)

    async def status(self) -> TaskStatus:
        """Where the task stands now."""
        return (await self.task()).status

    async def cancel(self) -> None:
        """Take the task out of the queue, or stop it if it runs.

        Raises:
            TaskStateError: It has ended already.
        """
        await self._app.cancel_task(self.id)

    async def retry(self) -> None:
        """Put the task back into the queue after it failed, expired or was cancelled.

        Raises:
            TaskStateError: It waits, runs or has succeeded.
        """
        await self._app.retry_task(self.id)

    def __repr__(self) -> str:
        return f"<TaskHandle {self.func or 'task'} {self.id}>"


class GroupProgress(msgspec.Struct, frozen=True):
    """How far a group has come.

    Attributes:
        total: Tasks in all.
        counts: Tasks in each status that any of them has.
    """

    total: int
    counts: dict[TaskStatus, int]

    @property
    def done(self) -> int:
        """Tasks that have ended."""
        return sum(n for status, n in self.counts.items() if status.is_final)

    @property
    def failed(self) -> int:
        """Tasks in the dead letters."""
        return self.counts.get(TaskStatus.FAILED, 0)


class GroupHandle(Displayed, Sequence[TaskHandle[T]]):
    """Tasks that were enqueued together. Awaiting the group gives the list of their results, in order."""

    def __init__(self, app: AsyncOmniQ, tasks: Sequence[TaskHandle[T] | str], func: str = "") -> None:
        self._app = app
        self._tasks = list(tasks)
        self.func = func

    @cached_property
    def _handles(self) -> list[TaskHandle[T]]:
        # Of tasks that came as ids, as those of `map` do, handles are made when somebody asks for them.
        return [TaskHandle(self._app, each, self.func) if isinstance(each, str) else each for each in self._tasks]

    @property
    def app(self) -> AsyncOmniQ:
        """The app that they ask."""
        return self._app

    @property
    def ids(self) -> list[str]:
        """The tasks' ids, in order."""
        return [each if isinstance(each, str) else each.id for each in self._tasks]

    @overload
    def __getitem__(self, index: int) -> TaskHandle[T]: ...
    @overload
    def __getitem__(self, index: slice) -> GroupHandle[T]: ...
    def __getitem__(self, index: int | slice) -> TaskHandle[T] | GroupHandle[T]:
        if isinstance(index, slice):
            return GroupHandle(self._app, self._handles[index], self.func)
        return self._handles[index]

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[TaskHandle[T]]:
        return iter(self._handles)

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self.results().__await__()

    async def results(self, timeout: float | timedelta | None = None) -> list[T]:
        """What the functions returned, in order.

        Raises:
            TaskError: One of the tasks has no result; the others go on. `settled` gives what there is instead.
            ResultTimeoutError: Not all have ended in time; they go on.
        """
        return await in_parallel(lambda handle: handle.result(timeout), self._handles)

    async def settled(self, timeout: float | timedelta | None = None) -> list[T | TaskError]:
        """Wait until all have ended; for each, in order, what it returned or the error that says why it did not."""
        outcomes = await asyncio.gather(*(handle.result(timeout) for handle in self._handles), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, TaskError):
                raise outcome
        return outcomes  # type: ignore[return-value]  # other exceptions were raised just now

    async def as_completed(self) -> AsyncIterator[TaskHandle[T]]:
        """The handles, each as its task ends."""
        waiting = {asyncio.ensure_future(handle.wait()): handle for handle in self._handles}
        try:
            pending = set(waiting)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    yield waiting[each]
        finally:
            for each in waiting:
                each.cancel()

    async def progress(self) -> GroupProgress:
        """How far the tasks have come."""
        return await self._app.progress(self.ids)

    async def cancel(self) -> int:
        """Cancel the tasks that have not ended; says how many."""
        return await self._app.cancel_tasks(self.ids)

    async def retry_failed(self) -> int:
        """Put the tasks that failed back into the queue; says how many."""
        return await self._app.retry_failed(self.ids)

    def __repr__(self) -> str:
        return f"<GroupHandle {len(self)} tasks of {self.func or 'several functions'}>"
