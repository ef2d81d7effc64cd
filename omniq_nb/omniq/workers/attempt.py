"""One attempt of one task: from its claim to its outcome."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..core.retry import class_names
from ..core.settlement import Claimed, Outcome, Raised, Succeeded
from ..errors import Retry, StoreError, StoreUnavailableError, TaskTimeoutError
from ..failures import describe_error
from ..models.record import Record
from ..models.result import result_key
from ..models.task import TaskSpec
from ..serialization import Serializer
from ..storage.large import LargeValues, fetch, is_reference
from .executors import Executor
from .functions import Callee, FunctionSource

logger = logging.getLogger("omniq")

_RETRY_STORE_SECONDS = 1.0

_T = TypeVar("_T")


class Attempts:
    """Runs attempts.

    Args:
        functions: Finds the task's function.
        serializer: Reads its arguments, writes its value.
        executor: Where its code runs.
        large: Where large arguments and results are, if they have a store of their own.
    """

    def __init__(
        self, functions: FunctionSource, serializer: Serializer, executor: Executor, large: LargeValues | None = None
    ) -> None:
        self._functions = functions
        self._large = large
        self._serializer = serializer
        self._executor = executor

    async def run(self, claimed: Claimed) -> Outcome:
        """The outcome; whatever the task raises is one.

        Raises:
            asyncio.CancelledError: The pool cancelled the attempt.
        """
        spec = claimed.spec
        try:
            function = self._functions.ready(spec) or await self._resolved(spec)
            payload = await self._fetched(spec) if is_reference(spec.payload) else spec.payload
            args, kwargs = self._arguments(payload, spec.func)
        except StoreError as error:
            # No fault of the task's, so its rules on classes don't matter.
            return Raised(describe_error(error), class_names(error), requested=True)
        except Exception as error:  # noqa: BLE001 -- what unpickles runs others' code; and it will raise that again
            return Raised(describe_error(error), class_names(error), final=True)
        try:
            if spec.timeout is None:
                value = await self._executor.run(function, args, kwargs)
            else:
                value = await self._run_limited(function, args, kwargs, spec.timeout)
        except Retry as request:
            return Raised(describe_error(request), class_names(request), requested=True, delay=request.delay)
        except asyncio.CancelledError as error:
            if _pool_cancelled():
                raise
            return Raised(describe_error(error), class_names(error))
        except BaseException as error:  # noqa: BLE001 -- a task may raise anything, SystemExit too: the worker lives on
            final = isinstance(error, TypeError) and not _takes(function, args, kwargs)
            return Raised(describe_error(error), class_names(error), final=final)
        try:
            data = self._serializer.dumps(value, f"the result of {spec.func}")
            return Succeeded(data if self._large is None else await self._keep(self._large, data, claimed.record))
        except Exception as error:  # noqa: BLE001 -- what pickles runs others' code; and it will raise that again
            return Raised(describe_error(error), class_names(error), final=True)

    async def _resolved(self, spec: TaskSpec) -> Callee:
        return await _patiently(f"the function {spec.func}", lambda: self._functions.resolve(spec))

    async def _fetched(self, spec: TaskSpec) -> bytes:
        return await _patiently(f"an argument of {spec.func}", lambda: fetch(self._large, spec.payload))

    async def _keep(self, large: LargeValues, value: bytes, record: Record) -> bytes:
        """The value, or a reference to it: what has been computed is worth waiting for a store that is away."""
        return await _patiently(f"the result of task {record.key}", lambda: large.offload(value, result_key(record)))

    def _arguments(self, payload: bytes, func: str) -> tuple[list[Any], dict[str, Any]]:
        arguments: Any = self._serializer.loads(payload, f"the arguments of {func}")
        args, kwargs = arguments
        return args, kwargs

    async def _run_limited(self, function: Callee, args: list[Any], kwargs: dict[str, Any], timeout: float) -> Any:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._executor.run(function, args, kwargs)
        except TimeoutError as error:
            if limit.expired():
                raise TaskTimeoutError(timeout) from error
            raise  # the task's own


def _takes(function: Callee, args: list[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a function can be called like that: no later try would change it."""
    try:
        inspect.signature(function.func).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:
        return True  # some functions in C have no signature
    return True


async def _patiently(what: str, ask: Callable[[], Awaitable[_T]]) -> _T:
    """What a store gives; while it is away the attempt waits, under its lease, and spends none of the task's tries."""
    away = False
    while True:
        try:
            return await ask()
        except StoreUnavailableError as error:
            if not away:
                logger.error("%s has to wait for its store: %s", what, error)
            away = True
            await asyncio.sleep(_RETRY_STORE_SECONDS)


def _pool_cancelled() -> bool:
    """Whether the attempt was cancelled from outside, and did not raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
