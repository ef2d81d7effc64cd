"""Sending tasks: what the options mean, and what is refused where it is said."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import omniq
import pytest
from omniq import AsyncOmniQ, ConfigError, OmniQError, OptionError, SerializationError, TaskFailed, TaskStatus
from omniq.errors import DuplicateFunctionError, DuplicateTaskError, NaiveDatetimeError
from omniq.registry import DEFAULT


async def test_task_takes_the_function_s_own_arguments_and_its_options(app: AsyncOmniQ) -> None:
    @app.task(name="fetch", queue="io", priority=5, max_retries=3, timeout=30, metadata={"team": "data"})
    async def fetch(url: str, *, deep: bool = False) -> str:
        return f"{url} {deep}"

    handle = await fetch.enqueue("http://x", deep=True)
    task = await handle.task()
    assert (task.id, task.func, task.queue, task.priority, task.max_retries) == (handle.id, "fetch", "io", 5, 3)
    assert (task.timeout, task.metadata, task.status, task.attempt) == (30, {"team": "data"}, TaskStatus.PENDING, 0)
    async with app.workers():
        assert await handle == "http://x True"


async def test_decorated_function_can_still_be_called(app: AsyncOmniQ) -> None:
    @app.task
    def double(n: int) -> int:
        """Twice as much."""
        return 2 * n

    assert double(21) == 42
    assert (double.__name__, double.__doc__) == ("double", "Twice as much.")


async def test_options_make_a_variant_and_leave_the_original(app: AsyncOmniQ) -> None:
    @app.task(queue="io", priority=1)
    async def f() -> None: ...

    urgent = f.options(priority=9)
    assert (await (await urgent.enqueue()).task()).priority == 9
    assert (await (await urgent.enqueue()).task()).queue == "io"
    assert (await (await f.enqueue()).task()).priority == 1


async def test_enqueue_by_function_keeps_its_options_and_by_name_finds_them(app: AsyncOmniQ) -> None:
    @app.task(queue="io", priority=1)
    async def f() -> None: ...

    by_variant = await (await app.enqueue(f.options(priority=9))).task()
    by_name = await (await app.enqueue("f")).task()
    overridden = await (await app.enqueue("f", queue="other", priority=-1)).task()
    assert (by_variant.queue, by_variant.priority) == ("io", 9)
    assert (by_name.queue, by_name.priority) == ("io", 1)
    assert (overridden.queue, overridden.priority) == ("other", -1)


async def test_given_moment_takes_the_place_of_the_function_s_delay(app: AsyncOmniQ) -> None:
    @app.task(delay=60)
    async def f() -> None: ...

    moment = datetime.now(UTC) + timedelta(days=1)
    for handle in (await f.options(run_at=moment).enqueue(), await app.enqueue("f", run_at=moment)):
        assert (await handle.task()).run_at == moment


async def test_name_that_only_workers_know_is_accepted(app: AsyncOmniQ) -> None:
    assert (
        await (await app.enqueue("only the workers know", args=(1,), kwargs={"a": 2})).task()
    ).func == "only the workers know"


async def test_function_of_another_app_can_be_sent_and_run(app: AsyncOmniQ, make_app: Any) -> None:
    @make_app().task(priority=4)
    async def theirs() -> str:
        return "done"

    handle = await app.enqueue(theirs)
    assert (await handle.task()).priority == 4
    async with app.workers():
        assert await handle == "done"


async def test_task_of_no_app_goes_to_the_current_one(app: AsyncOmniQ) -> None:
    try:

        @omniq.task(queue="io")
        async def of_no_app() -> int:
            return 7

        handle = await of_no_app.enqueue()
        async with app.workers(queues=["io"]):
            assert await handle == 7
        assert await (await omniq.enqueue(of_no_app)).status() is TaskStatus.PENDING
    finally:
        DEFAULT.remove("of_no_app")


async def test_task_can_send_tasks(app: AsyncOmniQ) -> None:
    @app.task
    async def child(n: int) -> int:
        return n + 1

    @app.task
    async def parent(n: int) -> int:
        return await (await child.enqueue(n))

    async with app.workers():
        assert await (await parent.enqueue(1)) == 2


async def test_without_a_current_app_the_error_says_what_to_write() -> None:
    try:

        @omniq.task
        async def of_no_app() -> None: ...

        with pytest.raises(ConfigError, match="there is no current app.*async with AsyncOmniQ"):
            await of_no_app.enqueue()
    finally:
        DEFAULT.remove("of_no_app")


@pytest.mark.parametrize(
    "options", [{"prioritty": 1}, {"delay": -1}, {"timeout": 0}, {"ttl": "soon"}, {"delay": 1e300}]
)
async def test_bad_option_is_refused_in_all_three_places_and_nothing_is_sent(app: AsyncOmniQ, options: Any) -> None:
    with pytest.raises(OptionError):
        app.task(**options)(lambda: None)

    @app.task
    async def f() -> None: ...

    with pytest.raises(OptionError):
        f.options(**options)
    with pytest.raises(OptionError):
        await app.enqueue("f", **options)
    assert (await app.stats()).totals == {}


async def test_naive_moment_is_refused(app: AsyncOmniQ) -> None:
    with pytest.raises(NaiveDatetimeError, match="run_at is a naive datetime"):
        await app.enqueue("f", run_at=datetime(2030, 1, 1))  # noqa: DTZ001 -- the point


async def test_argument_that_cannot_be_sent_is_refused_by_its_place(app: AsyncOmniQ) -> None:
    with pytest.raises(SerializationError, match=r"the arguments of f.*lock.*make it inside the task"):
        await app.enqueue("f", args=(1, {"deep": [threading.Lock()]}))
    assert (await app.stats()).totals == {}


async def test_function_that_cannot_be_sent_is_refused(app: AsyncOmniQ) -> None:
    lock = threading.Lock()

    @app.task
    def f() -> bool:
        return lock.locked()

    with pytest.raises(SerializationError, match="the function 'f'.*lock"):
        await f.enqueue()
    assert (await app.stats()).totals == {}


async def test_map_with_one_bad_argument_sends_nothing_at_all(app: AsyncOmniQ) -> None:
    @app.task
    async def f(n: Any) -> None: ...

    with pytest.raises(SerializationError):
        await f.map([*range(2500), threading.Lock()])
    assert (await app.stats()).totals == {}


async def test_map_sends_one_task_for_each_item_in_order(app: AsyncOmniQ) -> None:
    @app.task
    async def add(a: int, b: int = 0) -> int:
        return a + b

    group = await add.map(range(2500))
    assert len(group) == len(set(group.ids)) == 2500
    assert group.ids == sorted(group.ids)
    assert len(await add.map([])) == 0
    async with app.workers():
        assert await group == list(range(2500))
        assert await (await add.map([1, 2], [10, 20])) == [11, 22]


async def test_map_over_iterables_of_different_lengths_is_refused(app: AsyncOmniQ) -> None:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    with pytest.raises(OptionError, match=r"add\.map are of different lengths"):
        await add.map([1, 2], [3])
    assert (await app.stats()).totals == {}


async def test_own_id_names_one_task_for_ever(app: AsyncOmniQ) -> None:
    handle = await app.enqueue("f", task_id="import-2026-01-01")
    assert handle.id == "import-2026-01-01"
    with pytest.raises(DuplicateTaskError, match="'import-2026-01-01' is already in this store"):
        await app.enqueue("g", task_id="import-2026-01-01")
    assert (await handle.task()).func == "f"


async def test_own_id_for_many_tasks_is_refused(app: AsyncOmniQ) -> None:
    @app.task
    async def f(n: int) -> None: ...

    with pytest.raises(OptionError, match="task_id names one task"):
        await f.options(task_id="mine").map([1, 2])
    assert (await app.stats()).totals == {}


@pytest.mark.parametrize("not_a_task", [5, None, "text", lambda: (yield)])
def test_only_functions_can_be_tasks(not_a_task: Any) -> None:
    app = AsyncOmniQ("memory://nothing")
    with pytest.raises(OptionError):
        app.task(name="x")(not_a_task)


def test_method_is_refused_where_it_is_used() -> None:
    app = AsyncOmniQ("memory://nothing")

    class Holder:
        @app.task
        def method(self) -> None: ...

    with pytest.raises(OptionError, match="is a method: only functions can be tasks"):
        Holder().method  # noqa: B018 -- the point


def test_nameless_function_is_refused_with_what_to_write() -> None:
    with pytest.raises(OptionError, match=r"@task\(name=\.\.\.\)"):
        AsyncOmniQ("memory://nothing").task(lambda: None)


def test_two_importable_functions_of_one_name_are_refused() -> None:
    app = AsyncOmniQ("memory://nothing")
    app.task(name="same")(_first)
    app.task(name="same")(_first)
    with pytest.raises(DuplicateFunctionError, match="'same' is already registered"):
        app.task(name="same")(_second)


def _first() -> None: ...


def _second() -> None: ...


async def test_app_belongs_to_one_loop_and_says_so(app: AsyncOmniQ) -> None:
    def on_another_loop() -> None:
        with pytest.raises(OmniQError, match="belongs to another event loop"):
            asyncio.run(app.stats())

    await asyncio.to_thread(on_another_loop)


def _plain() -> None: ...


async def _plain_coroutine() -> None: ...


@pytest.mark.parametrize(
    ("func", "args", "complaint"),
    [
        (_plain, [], "_plain is no task: write @omniq.task above its definition"),
        (lambda: None, [], "<lambda> is no task"),
        (_plain_coroutine(), [], r"_plain_coroutine\(\) was called: pass the function itself"),
        ("f", "abc", r"args is a list of the positional arguments: write \['abc'\]"),
        ("f", 3, r"args is a list of the positional arguments: write \[3\]"),
    ],
)
async def test_what_is_no_task_or_no_list_of_arguments_is_refused(
    app: AsyncOmniQ, func: Any, args: Any, complaint: str
) -> None:
    with pytest.raises(OptionError, match=complaint):
        await app.enqueue(func, args)
    assert (await app.stats()).totals == {}


async def test_a_call_that_can_never_be_made_is_not_tried_again(app: AsyncOmniQ) -> None:
    @app.task(max_retries=5)
    async def fetch(url: str) -> str:
        return url + 1  # type: ignore[operator]

    async with app.workers() as pool:
        wrong: Any = fetch
        for handle, attempts in ((await wrong.enqueue(), 1), (await fetch.options(max_retries=1).enqueue("x"), 2)):
            with pytest.raises(TaskFailed, match="TypeError"):
                await handle
            assert (await handle.task()).attempt == attempts
        await pool.drain()


@pytest.mark.parametrize("url", ["sqlite://here.db", "file://here/files"])
async def test_a_url_with_two_slashes_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="write three before a relative path"):
        await AsyncOmniQ(url).open()
