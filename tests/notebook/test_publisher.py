"""The thread that feeds the views: what it tells, what it carries out, when it rests and ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omniq import AsyncOmniQ
from omniq.models.schedule import Schedule, ScheduleType
from omniq.notebook.board import Board
from omniq.notebook.progress import Progress
from omniq.notebook.publisher import Publisher
from omniq.notebook.source import Source

Until = Callable[[Callable[[], Any]], Any]


class Pages:
    """Takes what a board sends."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.states: list[dict[str, Any]] = []
        self.is_closed = False

    def tell(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def keep(self, state: dict[str, Any]) -> None:
        self.states.append(state)

    def shown(self) -> dict[str, Any]:
        """The model as a page has it by now."""
        model: dict[str, Any] = {}
        for message in list(self.messages):
            if message["type"] == "update":
                model |= message["patch"]
        return model

    def reply(self, command: str) -> dict[str, Any] | None:
        return next((each for each in list(self.messages) if each["type"] == "reply" and each["id"] == command), None)


class Views:
    """Boards of one app."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self._count = 0

    def show(self, view: str = "dashboard", progress: Progress | None = None) -> tuple[Board, Pages]:
        pages = Pages()
        board = Board(view, pages, progress)
        self.publisher.add(board)
        return board, pages

    def send(self, board: Board, op: str, **args: Any) -> str:
        self._count += 1
        command = f"c{self._count}"
        self.publisher.post(board, {"type": "command", "id": command, "op": op, "args": args})
        return command


@pytest.fixture
def views(app: AsyncOmniQ) -> Iterator[Views]:
    publisher = Publisher(app)
    yield Views(publisher)
    publisher.close()
    for thread in threading.enumerate():
        if thread.name == "omniq-publisher":
            thread.join(30)  # it may have just said goodbye
            assert not thread.is_alive()


async def make_tasks(app: AsyncOmniQ, count: int, name: str = "work", **options: Any) -> Any:
    async def work(n: int) -> int:
        return n

    return await app.task(name=name, **options)(work).map(range(count))


async def test_it_tells_a_new_view_everything_and_then_what_changes(
    app: AsyncOmniQ, views: Views, until: Until
) -> None:
    await make_tasks(app, 3)
    _, pages = views.show()
    await until(lambda: pages.messages)
    first = pages.messages[0]["patch"]
    assert set(first) == {"now", "app", "totals", "queues", "workers", "throughput", "tasks"}
    assert first["totals"]["pending"] == 3
    assert [row["func"] for row in first["tasks"]["rows"]] == ["work"] * 3
    await make_tasks(app, 2)
    await until(lambda: pages.shown()["totals"]["pending"] == 5)
    await until(lambda: len(pages.shown()["tasks"]["rows"]) == 5)
    assert [message["seq"] for message in pages.messages] == list(range(1, len(pages.messages) + 1))
    changed = [message["patch"] for message in pages.messages if message["patch"].get("totals", {}).get("pending") == 5]
    assert "workers" not in changed[0]
    await until(lambda: pages.states and pages.states[-1]["totals"]["pending"] == 5)


async def test_it_shows_what_workers_do(app: AsyncOmniQ, views: Views, until: Until) -> None:
    _, pages = views.show()
    _, timeline = views.show("events")
    await until(lambda: pages.messages)
    async with app.workers(concurrency=3):
        group = await make_tasks(app, 20)
        await group
        await until(lambda: pages.shown()["totals"]["succeeded"] == 20)
        await until(lambda: pages.shown()["workers"])
        worker = pages.shown()["workers"][0]
        assert (worker["concurrency"], worker["type"]) == (3, "async")
        await until(lambda: sum(pages.shown()["throughput"]["finished"]) == 20)
    await until(lambda: len(timeline.shown()["events"]) >= 60)
    kinds = {event["event_type"] for event in timeline.shown()["events"]}
    assert {"task.enqueued", "task.started", "task.succeeded"} <= kinds
    row = pages.shown()["tasks"]["rows"][0]
    assert row["created_at"] <= row["started_at"] <= row["finished_at"]


async def test_messages_are_few_however_much_changes(app: AsyncOmniQ, views: Views, until: Until) -> None:
    _, pages = views.show()
    await until(lambda: pages.messages)
    for _ in range(200):
        await make_tasks(app, 1)
    await until(lambda: pages.shown()["totals"]["pending"] == 200)
    assert len(pages.messages) < 100


async def test_buttons_act_on_the_store(app: AsyncOmniQ, views: Views, until: Until) -> None:
    group = await make_tasks(app, 2)
    board, pages = views.show()
    cancel = views.send(board, "cancel", task_id=group.ids[0])
    await until(lambda: pages.reply(cancel))
    assert await group[0].status() == "cancelled"
    assert pages.shown()["totals"]["cancelled"] == 1  # the update came before the reply
    retry = views.send(board, "retry", task_id=group.ids[0])
    await until(lambda: pages.reply(retry))
    assert await group[0].status() == "pending"
    pause = views.send(board, "pause", queue="default")
    await until(lambda: pages.reply(pause))
    assert (await app.stats()).paused == {"default"}
    assert pages.shown()["queues"][0]["paused"]
    resume = views.send(board, "resume", queue="default")
    await until(lambda: pages.reply(resume))
    assert (await app.stats()).paused == frozenset()


async def test_what_can_not_be_done_is_answered_in_one_line(app: AsyncOmniQ, views: Views, until: Until) -> None:
    group = await make_tasks(app, 1)
    board, pages = views.show()
    for op, args, expected in [
        ("retry", {"task_id": group.ids[0]}, "it is pending"),
        ("cancel", {"task_id": "unknown"}, "no task 'unknown'"),
        ("cancel", {}, "needs a task_id"),
        ("page", {"page": 0, "filter": {"status": "lost"}}, "no status 'lost'"),
        ("explode", {}, "no command 'explode'"),
        ("pause_schedule", {"schedule_id": "unknown"}, "'unknown' is gone"),
    ]:
        command = views.send(board, op, **args)
        await until(lambda sent=command: pages.reply(sent))
        answer = pages.reply(command)
        assert answer is not None
        assert not answer["ok"]
        assert expected in answer["error"]
        assert "\n" not in answer["error"]


async def test_pages_and_filters(app: AsyncOmniQ, views: Views, until: Until) -> None:
    await make_tasks(app, 120)
    await make_tasks(app, 3, "rare", queue="io")
    board, pages = views.show()
    seen = set()
    for number in range(3):
        command = views.send(board, "page", page=number, filter={"status": None, "queue": None, "func": None})
        await until(lambda sent=command: pages.reply(sent))
        tasks = pages.shown()["tasks"]
        assert (tasks["page"], tasks["has_next"]) == (number, number < 2)
        seen |= {row["id"] for row in tasks["rows"]}
    assert len(seen) == 123
    for chosen in ({"queue": "io"}, {"func": "rare"}, {"queue": "io", "status": "pending", "func": "rare"}):
        command = views.send(board, "page", page=0, filter=chosen)
        await until(lambda sent=command: pages.reply(sent))
        assert [row["func"] for row in pages.shown()["tasks"]["rows"]] == ["rare"] * 3
    command = views.send(board, "page", page=0, filter={"status": "failed"})
    await until(lambda: pages.reply(command))
    assert pages.shown()["tasks"] == {
        "rows": [], "filter": {"status": "failed", "queue": None, "func": None}, "page": 0, "has_next": False,
    }  # fmt: skip


async def test_a_task_in_detail(app: AsyncOmniQ, views: Views, until: Until) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("not today")

    @app.task(max_retries=0, metadata={"ticket": 7})
    def divide(x: int, *, by: int, odd: object = None) -> list[int]:
        return [x // by]

    board, pages = views.show()
    async with app.workers():
        good = await divide.enqueue(9, by=3)
        bad = await divide.enqueue(9, by=0)
        await app.group([good, bad]).settled()
    odd = await divide.enqueue(9, by=1, odd=Odd())
    answers = []
    for handle in (good, bad, odd):
        command = views.send(board, "detail", task_id=handle.id)
        await until(lambda sent=command: pages.reply(sent))
        answer = pages.reply(command)
        assert answer is not None
        assert answer["ok"]
        answers.append(answer["result"])
    assert (answers[0]["args"], answers[0]["result"], answers[0]["metadata"]) == ("9, by=3", "[3]", {"ticket": 7})
    assert [event["event_type"] for event in answers[0]["events"]] == [
        "task.enqueued", "task.started", "task.succeeded",
    ]  # fmt: skip
    assert "ZeroDivisionError" in answers[1]["error"]
    assert "x // by" in answers[1]["traceback"]
    assert "not today" in answers[2]["args"]


async def test_progress_of_a_group_comes_to_rest_and_wakes_again(app: AsyncOmniQ, views: Views, until: Until) -> None:
    calls: list[int] = []

    @app.task(max_retries=0)
    async def flawed(n: int) -> float:
        calls.append(n)
        return 1 / (n if calls.count(n) == 1 else 1)

    group = await flawed.map([0, 1, 2])
    board, pages = views.show("progress", Progress(group.ids, "three"))
    await until(lambda: pages.messages)
    assert set(pages.messages[0]["patch"]) == {"now", "app", "progress"}
    assert pages.shown()["progress"]["counts"]["pending"] == 3
    async with app.workers():
        await group.settled()
        await until(lambda: pages.shown()["progress"]["finished_at"])
        progress = pages.shown()["progress"]
        assert (progress["counts"]["succeeded"], progress["counts"]["failed"]) == (2, 1)
        assert "ZeroDivisionError" in progress["error"]
        assert "1 / (n" in progress["traceback"]
        assert [row["id"] for row in progress["failed"]] == [group.ids[0]]
        assert progress["started_at"] <= progress["finished_at"]
        await until(lambda: not views.publisher.is_running)
        assert pages.states[-1]["progress"] == progress
        command = views.send(board, "retry_failed")
        await until(lambda: pages.reply(command))
        assert pages.reply(command) == {"type": "reply", "id": command, "ok": True, "result": 1}
        await until(lambda: pages.shown()["progress"]["counts"]["succeeded"] == 3)
        assert pages.shown()["progress"]["error"] is None
    await until(lambda: not views.publisher.is_running)


async def test_a_whole_group_is_cancelled(app: AsyncOmniQ, views: Views, until: Until) -> None:
    group = await make_tasks(app, 30)
    await group[0].cancel()
    board, pages = views.show("progress", Progress(group.ids, "thirty"))
    command = views.send(board, "cancel_all")
    await until(lambda: pages.reply(command))
    assert pages.reply(command) == {"type": "reply", "id": command, "ok": True, "result": 29}
    assert pages.shown()["progress"]["counts"]["cancelled"] == 30


async def test_a_task_that_is_not_there_yet_counts_as_pending(app: AsyncOmniQ, views: Views, until: Until) -> None:
    _, pages = views.show("progress", Progress(["not-there"], "one"))
    await until(lambda: pages.messages)
    progress = pages.shown()["progress"]
    assert (progress["counts"]["pending"], progress["finished_at"], progress["total"]) == (1, None, 1)


async def test_a_running_task_that_is_cancelled_in_this_process_stops(
    app: AsyncOmniQ, views: Views, until: Until
) -> None:
    import asyncio

    stopped = []

    @app.task
    async def sleeper() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            stopped.append(True)
            raise

    board, _ = views.show()
    async with app.workers():
        handle = await sleeper.enqueue()

        async def runs() -> bool:
            return await handle.status() == "running"

        await until(runs)
        views.send(board, "cancel", task_id=handle.id)
        await until(lambda: stopped)
    assert await handle.status() == "cancelled"


async def test_schedules_are_shown_and_paused(app: AsyncOmniQ, views: Views, until: Until) -> None:
    from datetime import UTC, datetime

    from omniq.notebook.briefly import with_parts

    schedule = Schedule(
        id="s1", func="report", schedule_type=ScheduleType.INTERVAL, interval=60, created_at=datetime.now(UTC)
    )
    with_parts(app, lambda parts: parts.schedules.add(schedule))
    board, pages = views.show("schedules")
    await until(lambda: pages.shown().get("schedules"))
    assert pages.shown()["schedules"][0] | {"next_at": None} == {
        "id": "s1", "func": "report", "when": "every 60 s", "status": "active", "next_at": None, "runs": 0,
    }  # fmt: skip
    command = views.send(board, "pause_schedule", schedule_id="s1")
    await until(lambda: pages.reply(command))
    assert pages.shown()["schedules"][0]["status"] == "paused"


async def test_a_closed_app_is_shown_as_closed(app: AsyncOmniQ, views: Views, until: Until) -> None:
    board, pages = views.show()
    await until(lambda: pages.messages)
    await app.close()
    await until(lambda: pages.shown()["app"]["closed_at"])
    assert pages.states[-1]["app"]["closed_at"]
    command = views.send(board, "pause", queue="default")
    await until(lambda: pages.reply(command))
    answer = pages.reply(command)
    assert answer is not None
    assert "closed" in answer["error"]


async def test_closing_does_not_wait_for_a_store_that_does_not_answer(
    app: AsyncOmniQ, views: Views, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    async def read(*_: Any) -> Any:
        asked.set()
        await asyncio.get_running_loop().create_future()

    board, pages = views.show()
    await until(lambda: pages.messages)
    monkeypatch.setattr(Source, "read", read)
    await until(asked.is_set)
    command = views.send(board, "page")
    await until(lambda: views.publisher._commands)
    await asyncio.to_thread(views.publisher.close)
    await until(lambda: pages.shown()["app"]["closed_at"])
    await until(lambda: not views.publisher.is_running)
    answer = pages.reply(command)
    assert answer is not None
    assert "the app was closed" in answer["error"]


async def test_a_view_that_was_closed_ends_the_thread(app: AsyncOmniQ, views: Views, until: Until) -> None:
    board, pages = views.show()
    await until(lambda: pages.messages)
    pages.is_closed = True
    views.publisher.remove(board)
    await until(lambda: not views.publisher.is_running)


async def test_a_store_that_breaks_is_told_and_looked_at_again(tmp_path: Path, until: Until) -> None:
    path = tmp_path / "store" / "omniq.db"
    path.parent.mkdir()
    path.write_text("this is no database" * 100)
    publisher = Publisher(AsyncOmniQ(f"sqlite:///{path}"))
    pages = Pages()
    board = Board("dashboard", pages)
    publisher.add(board)
    await until(lambda: pages.shown().get("app", {}).get("error"))
    assert "is damaged" in pages.shown()["app"]["error"]
    publisher.post(board, {"type": "command", "id": "c1", "op": "pause", "args": {"queue": "default"}})
    await until(lambda: pages.reply("c1"))
    answer = pages.reply("c1")
    assert answer is not None
    assert "is damaged" in answer["error"]
    path.unlink()
    await until(lambda: "totals" in pages.shown())
    assert pages.shown()["app"]["error"] is None
    publisher.close()


async def test_it_gives_a_sign_of_life(views: Views, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omniq.notebook.board.SIGN_OF_LIFE", 0.3)
    _, pages = views.show("queues")
    await until(lambda: len(pages.messages) >= 3)
    assert list(pages.messages[-1]["patch"]) == ["now"]
    assert pages.messages[-1]["patch"]["now"] <= time.time() * 1000
