"""Blocking calls from wherever they may come: threads, cells, loops; and where they would never return."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from omniq import AsyncOmniQ, DeadlockError, OmniQ, OmniQError, TaskFailed
from omniq.sync.portal import portal, run
from omniq.sync.twin import Home, Twin


def test_one_loop_for_all(tmp_path: Path) -> None:
    loops = []

    def open_one(n: int) -> None:
        with OmniQ(f"memory://loop-{n}") as app:
            loops.append(app._home.loop())

    threads = [threading.Thread(target=open_one, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(loops) == {portal().loop}
    names = [each.name for each in threading.enumerate()]
    assert names.count("omniq-portal") == 1


def test_from_many_threads_at_once(app: OmniQ) -> None:
    @app.task
    def work(x: int) -> int:
        return x

    results: list[int] = []

    def use(x: int) -> None:
        results.append(work.enqueue(x).result(timeout=60))

    threads = [threading.Thread(target=use, args=(n,)) for n in range(8)]
    with app.workers():
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert sorted(results) == list(range(8))


async def test_inside_a_running_loop(app: OmniQ) -> None:
    @app.task
    async def work(x: int) -> int:
        return x

    with app.workers() as pool:
        handle = work.enqueue(7)
        pool.drain()
        assert handle.result() == 7
        assert next(work.map([1]).as_completed()).result() == 1


# --- deadlocks ---


def test_a_coroutine_task_that_blocks_its_own_loop_is_refused(app: OmniQ) -> None:
    @app.task
    def other(x: int) -> int:
        return x

    @app.task(max_retries=0)
    async def outer() -> None:
        other.enqueue(1)

    @app.task(max_retries=0)
    async def hopping() -> int:
        return (await asyncio.to_thread(other.enqueue, 2)).status() == "pending"

    @app.task(max_retries=0)
    async def hopping_all_the_way() -> int:
        return await asyncio.to_thread(lambda: other.enqueue(2).result())

    @app.task(max_retries=0)
    def plain() -> int:
        return other.enqueue(3).result()

    with app.workers():
        for task in (outer, hopping):
            with pytest.raises(TaskFailed) as caught:
                task.enqueue().result()
            assert caught.value.error_type.endswith("DeadlockError")
            for advice in ("loop", "plain `def`", "asyncio.to_thread"):
                assert advice in caught.value.error
        assert hopping_all_the_way.enqueue().result() == 2
        assert plain.enqueue().result() == 3


def test_a_callback_on_the_loop_is_refused(app: OmniQ) -> None:
    raised: list[BaseException] = []
    called = threading.Event()

    def call() -> None:
        for each in (app.stats, app.close, app.__enter__, lambda: next(app.stream_events())):
            try:
                each()
            except DeadlockError as error:
                raised.append(error)
        called.set()

    portal().loop.call_soon_threadsafe(call)
    assert called.wait(60)
    assert len(raised) == 4
    assert "`with OmniQ`" in str(raised[2])
    assert app.stats().queues == {}


async def test_a_blocking_face_on_the_apps_own_loop_is_refused() -> None:
    async with AsyncOmniQ("memory://own-loop") as app:
        blocking = OmniQ.over(app)
        with pytest.raises(DeadlockError, match=r"the app lives on the loop that runs this code.*await"):
            blocking.stats()
        assert (await asyncio.to_thread(blocking.stats)).queues == {}


def test_an_app_whose_loop_has_ended_is_refused() -> None:
    app = AsyncOmniQ("memory://ended-loop")
    asyncio.run(app.open())
    with pytest.raises(OmniQError, match="has ended"):
        OmniQ.over(app).stats()


def test_a_call_whose_work_is_given_up_elsewhere_says_so() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(OmniQError, match="given up"):
        run(give_up(), portal().loop, "call()")


# --- interrupts and exits ---


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a shell starts in the background ignores interrupts, and the tests may be that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class _Endless:
    """Waits for ever after it has sent the process an interrupt."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    async def wait(self) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_what_is_waited_for() -> None:
    endless = _Endless()
    with pytest.raises(KeyboardInterrupt):
        run(endless.wait(), portal().loop, "wait()")
    assert endless.ended.wait(60)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_a_stream(app: OmniQ) -> None:
    ended = threading.Event()

    async def values() -> AsyncIterator[int]:
        try:
            yield 1
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # cleaning up may take several turns of the loop
            ended.set()

    stream = app._iterate(values(), "values")
    assert next(stream) == 1
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert ended.is_set()  # the stream was closed before the interrupt reached the caller
    assert app.stats().queues == {}


def test_a_stream_that_is_dropped_is_closed(app: OmniQ) -> None:
    ended = threading.Event()

    async def values() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.set()

    stream = app._iterate(values(), "values")
    assert next(stream) == 1
    portal().loop.call_soon_threadsafe(gc.collect)  # wherever it is collected, it must not block
    del stream
    gc.collect()
    assert ended.wait(60)


def test_a_stream_that_is_dropped_on_the_loop_itself_does_not_block_it(app: OmniQ) -> None:
    ended = threading.Event()

    async def values() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.set()

    streams = [app._iterate(values(), "values")]
    assert next(streams[0]) == 1
    portal().loop.call_soon_threadsafe(streams.clear)
    assert ended.wait(60)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_coroutine_that_asks_to_exit_ends_itself_only(kind: type[BaseException]) -> None:
    async def leave() -> None:
        raise kind

    async def answer() -> int:
        return 42

    loop = portal().loop
    with pytest.raises(kind):
        run(leave(), loop, "leave()")
    assert run(answer(), loop, "answer()") == 42


def test_a_timeout_of_the_coroutines_own_is_passed_on() -> None:
    async def time_out() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        run(time_out(), portal().loop, "call()")


def test_plain_functions_that_need_the_loop_run_on_it() -> None:
    assert Twin(None, Home())._call(asyncio.get_running_loop) is portal().loop
