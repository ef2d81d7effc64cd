# Generated from omniq/handles.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.handles` without ``await``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from ..errors import TaskError
from ..handles import GroupHandle, GroupProgress, TaskHandle
from ..models.result import TaskResult
from ..models.task import Task, TaskStatus
from .twin import DisplayedTwin, Twin, given

if TYPE_CHECKING:
    from .app import OmniQ

T = TypeVar("T")


class SyncTaskHandle(Twin[TaskHandle[T]], DisplayedTwin, Generic[T]):
    """A task that was enqueued. `result` gives what the function returned.

    Attributes:
        id: The task's id: `app.handle(id)` finds the task again, tomorrow or elsewhere.
    """

    @property
    def id(self) -> str:
        return self._async.id

    @property
    def func(self) -> str:
        return self._async.func

    @property
    def app(self) -> OmniQ:
        """The app that it asks."""
        from .app import OmniQ

        return given(OmniQ, self._async.app, self._home)

    def result(self, timeout: float | timedelta | None = None) -> T:
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
        return self._run(self._async.result(timeout))

    def wait(self, timeout: float | timedelta | None = None) -> TaskResult:
        """Wait until the task has ended, however it did, and give its result.

        Raises:
            ResultTimeoutError: It has not ended in time; it goes on.
        """
        return self._run(self._async.wait(timeout))

    def task(self) -> Task:
        """The task as it is now."""
        return self._run(self._async.task())

    def status(self) -> TaskStatus:
        """Where the task stands now."""
        return self._run(self._async.status())

    def cancel(self) -> None:
        """Take the task out of the queue, or stop it if it runs.

        Raises:
            TaskStateError: It has ended already.
        """
        self._run(self._async.cancel())

    def retry(self) -> None:
        """Put the task back into the queue after it failed, expired or was cancelled.

        Raises:
            TaskStateError: It waits, runs or has succeeded.
        """
        self._run(self._async.retry())


class SyncGroupHandle(Twin[GroupHandle[T]], DisplayedTwin, Sequence[SyncTaskHandle[T]]):
    """Tasks that were enqueued together. `results` gives the list of their results, in order."""

    @property
    def func(self) -> str:
        return self._async.func

    @property
    def app(self) -> OmniQ:
        """The app that they ask."""
        from .app import OmniQ

        return given(OmniQ, self._async.app, self._home)

    @property
    def ids(self) -> list[str]:
        """The tasks' ids, in order."""
        return self._async.ids

    @overload
    def __getitem__(self, index: int) -> SyncTaskHandle[T]: ...
    @overload
    def __getitem__(self, index: slice) -> SyncGroupHandle[T]: ...
    def __getitem__(self, index: int | slice) -> SyncTaskHandle[T] | SyncGroupHandle[T]:
        return (
            SyncTaskHandle(found, self._home)
            if isinstance(found := self._async.__getitem__(index), TaskHandle)
            else SyncGroupHandle(found, self._home)
        )

    def __len__(self) -> int:
        return self._async.__len__()

    def __iter__(self) -> Iterator[SyncTaskHandle[T]]:
        return (SyncTaskHandle(each, self._home) for each in self._async.__iter__())

    def results(self, timeout: float | timedelta | None = None) -> list[T]:
        """What the functions returned, in order.

        Raises:
            TaskError: One of the tasks has no result; the others go on. `settled` gives what there is instead.
            ResultTimeoutError: Not all have ended in time; they go on.
        """
        return self._run(self._async.results(timeout))

    def settled(self, timeout: float | timedelta | None = None) -> list[T | TaskError]:
        """Wait until all have ended; for each, in order, what it returned or the error that says why it did not."""
        return self._run(self._async.settled(timeout))

    def as_completed(self) -> Iterator[SyncTaskHandle[T]]:
        """The handles, each as its task ends."""
        for each in self._iterate(self._async.as_completed(), "as_completed"):
            yield SyncTaskHandle(each, self._home)

    def progress(self) -> GroupProgress:
        """How far the tasks have come."""
        return self._run(self._async.progress())

    def cancel(self) -> int:
        """Cancel the tasks that have not ended; says how many."""
        return self._run(self._async.cancel())

    def retry_failed(self) -> int:
        """Put the tasks that failed back into the queue; says how many."""
        return self._run(self._async.retry_failed())
