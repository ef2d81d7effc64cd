"""Whatever a task does or raises is an outcome: it is stored with its reason, and the worker lives on."""

from __future__ import annotations

import asyncio
import decimal
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from omniq import AsyncOmniQ, Retry, TaskFailed, TaskStatus, WorkerPool
from omniq.backends.registry import make_driver
from omniq.clock import SECOND, system_clock
from omniq.core import lifecycle
from omniq.models.record import Insert, Record
from omniq.models.result import TaskResult
from omniq.models.task import RetryPolicy, TaskSpec
from omniq.serialization import Serializer
from omniq.signing import Signer


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Fatal(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Demanding(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class UnserializableValue:
    def __reduce__(self) -> Any:
        raise RuntimeError("I stay here")


@pytest.fixture(params=["async", "thread"])
async def pool(request: pytest.FixtureRequest, app: AsyncOmniQ) -> AsyncIterator[WorkerPool]:
    async with app.workers(request.param, concurrency=4) as pool:
        yield pool


@pytest.fixture(params=["def", "async def"])
def raiser(request: pytest.FixtureRequest, app: AsyncOmniQ) -> Any:
    """A task, plain or coroutine function, that raises what ``chosen["error"]`` makes."""
    chosen: dict[str, Any] = {}
    if request.param == "def":

        @app.task(max_retries=0)
        def fails() -> None:
            error = chosen["error"]()
            raise error
    else:

        @app.task(max_retries=0)
        async def fails() -> None:
            error = chosen["error"]()
            raise error

    return fails, chosen


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
@pytest.mark.parametrize(
    ("error", "error_type", "text"),
    [
        (lambda: ValueError("broken"), "ValueError", "broken"),
        (SystemExit, "SystemExit", ""),
        (KeyboardInterrupt, "KeyboardInterrupt", ""),
        (GeneratorExit, "GeneratorExit", ""),
        (lambda: StopIteration(5), "RuntimeError", "StopIteration"),
        (StopAsyncIteration, None, ""),
        (lambda: asyncio.CancelledError("mine"), "asyncio.exceptions.CancelledError", "mine"),
        (lambda: TimeoutError("my own"), "TimeoutError", "my own"),
        (Unpicklable, f"{__name__}.Unpicklable", "holds a lock"),
        (Mute, f"{__name__}.Mute", "__str__ raised ValueError"),
        (Fatal, f"{__name__}.Fatal", "__str__ raised SystemExit"),
        (lambda: Demanding(1, 2), f"{__name__}.Demanding", "1 and 2"),
        (lambda: ValueError("\ud800 broken text"), "ValueError", "broken text"),
        (lambda: ValueError("x" * 10_000_000), "ValueError", "characters left out"),
        (lambda: ExceptionGroup("several", [ValueError("a"), KeyError("b")]), "ExceptionGroup", "several"),
        (MemoryError, "MemoryError", ""),
        (RecursionError, "RecursionError", ""),
    ],
)
async def test_whatever_a_task_raises_is_in_the_dead_letters_and_the_worker_lives_on(
    app: AsyncOmniQ, pool: WorkerPool, raiser: Any, error: Any, error_type: str | None, text: str
) -> None:
    fails, chosen = raiser
    chosen["error"] = error
    handle = await fails.enqueue()
    with pytest.raises(TaskFailed) as failure:
        await handle
    if error_type is not None:
        assert failure.value.error_type == error_type
    assert text in failure.value.error
    assert "fails" in failure.value.remote_traceback
    assert [task.id for task in (await app.dead_letters()).tasks] == [handle.id]
    chosen["error"] = lambda: ValueError("again")
    with pytest.raises(TaskFailed, match="again"):
        await (await fails.enqueue())


async def test_traceback_shows_the_task_s_own_frames_and_the_cause(app: AsyncOmniQ, pool: WorkerPool) -> None:
    @app.task(max_retries=0)
    def outer() -> None:
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("wrapped") from error

    result = await (await outer.enqueue()).wait()
    assert result.traceback is not None
    assert "KeyError: 'missing'" in result.traceback
    assert 'raise ValueError("wrapped") from error' in result.traceback
    assert "omniq_nb" not in result.traceback


async def test_task_that_raises_is_tried_again_as_often_as_it_may(app: AsyncOmniQ, pool: WorkerPool) -> None:
    seen = []

    @app.task(max_retries=2)
    async def fails() -> None:
        seen.append(1)
        raise ValueError(len(seen))

    handle = await fails.enqueue()
    result = await handle.wait()
    assert (result.status, result.attempt, result.error, len(seen)) == (TaskStatus.FAILED, 3, "3", 3)
    assert (await handle.task()).error == "ValueError: 3"


async def test_task_may_succeed_at_a_later_attempt(app: AsyncOmniQ, pool: WorkerPool) -> None:
    seen = []

    @app.task(max_retries=5)
    def flaky() -> int:
        seen.append(1)
        if len(seen) < 3:
            raise ConnectionError
        return len(seen)

    result = await (await flaky.enqueue()).wait()
    assert (result.status, result.value, result.attempt) == (TaskStatus.SUCCEEDED, 3, 3)


async def test_rules_on_classes_hold_also_for_classes_defined_here(app: AsyncOmniQ, pool: WorkerPool) -> None:
    class Passing(Exception):
        pass

    class Final(Passing):
        pass

    seen: list[str] = []

    @app.task(max_retries=2, retry_on=Passing, no_retry_on=Final)
    async def fails(kind: str) -> None:
        seen.append(kind)
        raise {"passing": Passing, "final": Final, "other": ValueError}[kind]

    for kind in ("passing", "final", "other"):
        assert (await (await fails.enqueue(kind)).wait()).status is TaskStatus.FAILED
    assert (seen.count("passing"), seen.count("final"), seen.count("other")) == (3, 1, 1)


async def test_task_can_ask_for_a_retry_with_its_own_delay(app: AsyncOmniQ, pool: WorkerPool) -> None:
    seen = []

    @app.task(max_retries=2, retry_delay=3600, retry_on=OSError)
    async def polls() -> int:
        seen.append(1)
        if len(seen) < 3:
            raise Retry(delay=0, reason="not ready")
        return len(seen)

    assert await (await polls.enqueue()) == 3


@pytest.mark.parametrize("delay", [-1, float("inf"), 1e18, "soon"])
async def test_retry_with_an_impossible_delay_fails_the_task_with_that_reason(
    app: AsyncOmniQ, pool: WorkerPool, delay: Any
) -> None:
    @app.task(max_retries=0)
    async def confused() -> None:
        raise Retry(delay)

    with pytest.raises(TaskFailed, match="delay must be"):
        await (await confused.enqueue())


async def test_value_that_cannot_be_serialized_fails_the_task_with_that_reason_and_no_retry(
    app: AsyncOmniQ, pool: WorkerPool
) -> None:
    calls = []

    @app.task(max_retries=3)
    def gives(kind: str) -> Any:
        calls.append(kind)
        return {"lock": threading.Lock, "value": UnserializableValue, "lone": lambda: {"deep": [threading.Lock()]}}[
            kind
        ]()

    for kind in ("lock", "value", "lone"):
        with pytest.raises(TaskFailed, match="the result of gives") as failure:
            await (await gives.enqueue(kind))
        assert "SerializationError" in failure.value.error_type
    assert calls == ["lock", "value", "lone"]


async def test_large_value_arrives_whole(app: AsyncOmniQ, pool: WorkerPool) -> None:
    @app.task
    def large() -> bytes:
        return bytes(8_000_000)

    with pytest.warns(UserWarning, match="the result of large takes 8,000 kB"):
        assert await (await large.enqueue()) == bytes(8_000_000)


async def test_unknown_function_is_dead_at_once_with_what_is_known(app: AsyncOmniQ, pool: WorkerPool) -> None:
    @app.task
    def known() -> None: ...

    with pytest.raises(
        TaskFailed, match=r"no task function 'unknown' is registered here \(registered: .*known"
    ) as failure:
        await (await app.enqueue("unknown", max_retries=5))
    assert failure.value.error_type == "omniq.errors.UnknownFunctionError"
    assert len((await app.dead_letters()).tasks) == 1


async def _insert_foreign(app: AsyncOmniQ, spec: TaskSpec) -> str:
    """A task written by someone who can write to the store and does not know the secret."""
    now = system_clock()
    record: Record = lifecycle.enqueue("f" * 32, "default", 0, spec, now, now, now + 3600 * SECOND)
    async with make_driver(app.config.url) as driver:
        assert await driver.write([Insert(record)]) == [True]
    return record.key


async def test_arguments_pickled_with_another_secret_are_refused_unread(app: AsyncOmniQ, pool: WorkerPool) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return pytest.fail, ("it was unpickled",)

    ran = []

    @app.task(name="target")
    def target(*_: Any) -> None:
        ran.append(1)

    payload = Serializer(Signer(b"the secret of another app")).dumps([[Trap()], {}])
    task_id = await _insert_foreign(app, TaskSpec("target", payload, retry=RetryPolicy(max_retries=5)))
    with pytest.raises(TaskFailed, match="not signed with this app's secret"):
        await app.handle(task_id)
    assert not ran


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x05", b"\xff" * 40, b"\x80\x04N."])
async def test_damaged_arguments_fail_the_task_with_a_reason(app: AsyncOmniQ, pool: WorkerPool, payload: bytes) -> None:
    @app.task(name="target")
    def target(*_: Any) -> None: ...

    task_id = await _insert_foreign(app, TaskSpec("target", payload))
    result = await app.handle(task_id).wait()
    assert (result.status, result.attempt) == (TaskStatus.FAILED, 1)
    assert result.error


async def test_shipped_code_that_is_gone_from_the_store_fails_the_task(app: AsyncOmniQ, pool: WorkerPool) -> None:
    task_id = await _insert_foreign(app, TaskSpec("shipped", b"\x92\x90\x80", code="0" * 64))
    with pytest.raises(TaskFailed, match="no task function 'shipped'"):
        await app.handle(task_id)


async def test_record_that_cannot_be_read_fails_instead_of_stopping_the_worker(
    app: AsyncOmniQ, pool: WorkerPool
) -> None:
    @app.task
    async def fine() -> int:
        return 1

    now = system_clock()
    record: Record = lifecycle.enqueue("e" * 32, "default", 9, TaskSpec("f", b""), now, now, None)
    record.body = b"\xc1 nothing that we wrote"
    async with make_driver(app.config.url) as driver:
        await driver.write([Insert(record)])
    result: TaskResult = await app.handle(record.key).wait()
    assert result.status is TaskStatus.FAILED
    assert "can't be read" in (result.error or "")
    assert await (await fine.enqueue()) == 1


async def test_task_sees_its_arguments_as_they_were_given(app: AsyncOmniQ, pool: WorkerPool) -> None:
    @app.task
    def echo(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    args = (1, "two", (3, {4}), {"five": b"5", 6: None}, 2**100, ValueError("seven"))
    got, named = await (await echo.enqueue(*args, eight=[8.0]))
    assert got[:-1] == args[:-1]
    assert repr(got[-1]) == repr(args[-1])
    assert named == {"eight": [8.0]}


async def test_context_variables_are_each_task_s_own(app: AsyncOmniQ, pool: WorkerPool) -> None:
    @app.task
    async def precision(digits: int) -> int:
        before = decimal.getcontext().prec
        decimal.setcontext(decimal.Context(prec=digits))
        return before

    assert [await (await precision.enqueue(digits)) for digits in (5, 6, 7)] == [28, 28, 28]
