"""What objects show of themselves: live, in a saved notebook, as text."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import comm
import pytest
from comm.base_comm import BaseComm
from omniq import AsyncOmniQ, TaskResult, TaskStatus
from omniq.notebook import boards, display, html
from omniq.notebook.model import counts_of

LIVE = "application/vnd.jupyter.widget-view+json"


class MockComm(BaseComm):
    """A comm that keeps what is sent."""

    opened: dict[str, MockComm] = {}  # noqa: RUF012 -- as the library that it stands for has it

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        super().__init__(*args, **kwargs)
        MockComm.opened[self.comm_id] = self

    def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any) -> None:
        self.sent.append({"type": msg_type, "data": data})
        if msg_type == "comm_close":
            MockComm.opened.pop(self.comm_id, None)


@pytest.fixture
def comms(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, MockComm]]:
    """A front end that only listens; every comm has to be closed in the end."""
    monkeypatch.setattr(comm, "create_comm", MockComm)
    monkeypatch.setattr(display, "in_kernel", lambda: True)
    MockComm.opened = {}
    yield MockComm.opened
    assert not MockComm.opened


class Well(HTMLParser):
    """Checks that tags are closed in order, and that nothing runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        assert tag != "script"
        assert not [name for name, _ in attributes if name.startswith("on")]
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


async def test_a_handle_shows_itself(app: AsyncOmniQ, comms: dict[str, MockComm]) -> None:
    @app.task(max_retries=0)
    def broken() -> None:
        raise ValueError("<b>bold</b> & bad")

    handle = await broken.enqueue()
    async with app.workers():
        await handle.wait()
    data, _ = handle._repr_mimebundle_()
    assert data["text/plain"] == f"<TaskHandle broken {handle.id}>"
    Well(data["text/html"])
    assert "failed" in words(data["text/html"])
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; bad" in data["text/html"]
    assert "Traceback" in data["text/html"]
    live = comms[data[LIVE]["model_id"]]
    assert live.sent[0]["data"]["state"]["view"] == "progress"
    again, _ = handle._repr_mimebundle_()
    assert again[LIVE] == data[LIVE]  # one view for each handle, however often it is displayed
    boards.progress_board(handle, None).close()  # type: ignore[arg-type]


async def test_a_view_leaves_nothing_behind(app: AsyncOmniQ, comms: dict[str, MockComm]) -> None:
    import ipywidgets

    before = set(ipywidgets.widgets.widget._instances)
    first = boards.board("dashboard", app)
    assert boards.board("dashboard", app) is first
    dark = boards.board("dashboard", app, "dark")
    assert dark is not first
    data, _ = first._repr_mimebundle_()
    Well(data["text/html"])
    assert data["text/plain"] == "<OmniQ dashboard>"
    publisher = first.publisher
    first.close()
    dark.close()
    assert boards.board("dashboard", app) is not first
    boards.board("dashboard", app).close()
    boards.close_boards(app)
    assert not publisher.is_running
    assert set(ipywidgets.widgets.widget._instances) == before
    assert not comms


async def test_a_page_that_was_reloaded_finds_the_state(app: AsyncOmniQ, comms: dict[str, MockComm]) -> None:
    board = boards.board("queues", app)
    board.snapshot()
    boards.close_boards(app)
    assert board.state["app"]["closed_at"]
    assert board.state["totals"] == counts_of({})
    board.close()


async def test_without_widgets_there_is_html(
    app: AsyncOmniQ, comms: dict[str, MockComm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "widgets_are_installed", lambda: False)

    @app.task
    def work(n: int) -> int:
        return n

    group = await work.map(range(4))
    data, _ = group._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html"}
    assert "0 of 4 · 0% 4 pending" in words(data["text/html"])


async def test_outside_of_a_notebook_there_is_text(app: AsyncOmniQ) -> None:
    @app.task
    def work() -> None: ...

    handle = await work.enqueue()
    for each in (handle, app.group([handle]), await handle.task(), await app.stats(), app):
        assert each._repr_mimebundle_() == ({"text/plain": repr(each)}, {})


async def test_records_show_their_fields(app: AsyncOmniQ, comms: dict[str, MockComm]) -> None:
    @app.task(metadata={"<k>": "<v>"}, queue="<q>", timeout=30)
    def work() -> None: ...

    handle = await work.enqueue()
    for each, expected in [
        (await handle.task(), ["work", "pending", "&lt;q&gt;", "30.0 s", "&lt;k&gt;"]),
        (await app.stats(), ["&lt;q&gt;", "pending", "no workers"]),
        (app, ["OmniQ", "open", "&lt;q&gt;"]),
    ]:
        data, _ = each._repr_mimebundle_()
        Well(data["text/html"])
        assert all(word in data["text/html"] for word in expected), data["text/html"]
        assert "0x" not in data["text/plain"]


def test_a_result_shows_its_value_or_its_error(comms: dict[str, MockComm]) -> None:
    now = datetime.now(UTC)
    good = TaskResult(task_id="t", status=TaskStatus.SUCCEEDED, value={"a": "<x>"}, started_at=now, finished_at=now)
    data, _ = good._repr_mimebundle_()
    assert "{&#x27;a&#x27;: &#x27;&lt;x&gt;&#x27;}" in data["text/html"]
    bad = TaskResult(task_id="t", status=TaskStatus.FAILED, error="<x>", error_type="ValueError", traceback="at <y>")
    data, _ = bad._repr_mimebundle_()
    assert "ValueError: &lt;x&gt;" in data["text/html"]
    assert "at &lt;y&gt;" in data["text/html"]


def test_a_store_that_can_not_be_reached_is_no_crash(comms: dict[str, MockComm], tmp_path: Any) -> None:
    (tmp_path / "file").write_text("not a folder")
    app = AsyncOmniQ(f"sqlite:///{tmp_path}/file/omniq.db")
    handle = app.handle("some-task")
    data, _ = handle._repr_mimebundle_()
    Well(data["text/html"])
    board = boards.progress_board(handle, None)  # type: ignore[arg-type]
    assert "Not a directory" in board.snapshot()["app"]["error"]
    board.close()
    boards.close_boards(app)


def test_passwords_do_not_show(comms: dict[str, MockComm]) -> None:
    app = AsyncOmniQ("redis://user:hush@localhost:6379/0")
    data, _ = app._repr_mimebundle_()
    assert "hush" not in str(data)


@pytest.mark.parametrize("view", ["dashboard", "queues", "schedules", "events", "progress"])
def test_pictures_of_views_that_know_nothing_yet(view: str) -> None:
    Well(html.view_html(view, {}))
    failed = {"app": {"store": "<s>", "error": "<e>"}, "now": 0}
    text = html.view_html(view, failed)
    Well(text)
    assert "&lt;e&gt;" in text


def test_importing_omniq_loads_no_front_end() -> None:
    code = (
        "import sys, omniq; omniq.current; "
        "print([name for name in ('IPython', 'ipywidgets', 'anywidget', 'omniq.notebook') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


async def test_a_queue_and_the_stores_health_show_themselves_as_tables(
    app: AsyncOmniQ, comms: dict[str, MockComm]
) -> None:
    assert comms == {}, "tables are not live"
    await app.enqueue("some.function", queue="io & co")
    await app.pause_queue("io & co")
    bundle, _ = (await app.queues.stats("io & co"))._repr_mimebundle_()
    Well(bundle["text/html"])
    assert "io &amp; co" in bundle["text/html"]
    assert "oldest that waits" in bundle["text/html"]
    health = await app.health()
    bundle, _ = health._repr_mimebundle_()
    Well(bundle["text/html"])
    assert all(each.component in bundle["text/html"] for each in health.components)
