"""A page of JupyterLab while tasks finish: ``python -m contenders.omniq_page JSON``, with the arguments of `measure`.

With a dashboard in it, or without: what the browser, the server and a busy machine do to a page by themselves.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import answer
from harness.paths import ROOT
from omniq import AsyncOmniQ, set_current
from playwright.sync_api import Page, expect, sync_playwright

from .omniq_task import noop

sys.path.insert(0, str(ROOT / "tests" / "browser"))

from lab_driver import PATIENCE, VIEWPORT, Lab, Notebook, launch, save
from page_probe import Probe, Seen

_STEP_SECONDS = 0.05
_HEAD_START_SECONDS = 1.0
"""The tasks flow already when watching begins."""
_CLICK_EVERY_MS = 1000
_TABS = ("Succeeded", "All")
_SETTLED_WITHIN = 30.0


def measure(store: str, home: str, warm_up: int, rate: float, seconds: float, board: bool) -> dict[str, Any]:
    """All that was seen.

    Args:
        store: Its URL; a worker is there.
        home: For the server's files.
        warm_up: So many tasks come first: the lists are full before anything is measured.
        rate: Tasks per second; 0: nothing happens.
        seconds: How long to watch.
        board: Whether a dashboard is shown.
    """
    with _notebook(Path(home), store) as notebook, ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(asyncio.run, _send(store, range(warm_up))).result()
        if board:
            notebook.run(1)
            _expect_shown(notebook.page, elsewhere.submit(asyncio.run, _settled(store, warm_up)).result())
        probe = Probe(notebook.page)
        notebook.page.wait_for_timeout(_HEAD_START_SECONDS * 1000)
        before = probe.size()
        sent: Future[int] | None = None
        if rate:
            sent = elsewhere.submit(asyncio.run, _feed(store, warm_up, rate, seconds + 2 * _HEAD_START_SECONDS))
            notebook.page.wait_for_timeout(_HEAD_START_SECONDS * 1000)
        seen = _watch(notebook.page, probe, seconds, clicks=board)
        total = warm_up + (sent.result() if sent is not None else 0)
        succeeded = elsewhere.submit(asyncio.run, _settled(store, total)).result()
        if board:
            _expect_shown(notebook.page, succeeded)
        after = probe.size()
    return {"sent": total, "succeeded": succeeded, "before": before, "after": after, **seen._asdict()}


@contextmanager
def _notebook(home: Path, store: str) -> Iterator[Notebook]:
    """A notebook of two cells, the first of which has run."""
    lab = Lab(home)
    try:
        lab.configure()
        folder = lab.root / "page"
        folder.mkdir()
        save(folder / "page.ipynb", [f"import omniq\n_ = await omniq.AsyncOmniQ({store!r}).open()", _BOARD])
        lab.wait()
        with sync_playwright() as playwright, launch(playwright) as browser:
            notebook = Notebook(browser.new_page(viewport=VIEWPORT), lab, folder, "page.ipynb")
            notebook.open()
            notebook.run(0)
            notebook.expect_done(0)
            yield notebook
    finally:
        lab.close()


_BOARD = "omniq.dashboard(_)"


def _expect_shown(page: Page, succeeded: int) -> None:
    board = page.locator(".omniq").first
    shown = board.locator(".oq-total[data-status=succeeded] .oq-total-count")
    expect(shown).to_have_attribute("title", f"{succeeded:,}", timeout=PATIENCE)
    board.scroll_into_view_if_needed()


def _watch(page: Page, probe: Probe, seconds: float, *, clicks: bool) -> Seen:
    probe.start()
    until = time.monotonic() + seconds
    clicked = 0
    while clicked % len(_TABS) or (left := until - time.monotonic()) > 0:
        if clicks:
            probe.click_tab(_TABS[clicked % len(_TABS)])
            clicked += 1
        page.wait_for_timeout(min(_CLICK_EVERY_MS, max(100, 1000 * left)))
    return probe.stop()


# --- in a thread of their own: the browser's driver has a loop running on the main one ---


async def _send(store: str, indexes: range) -> None:
    async with AsyncOmniQ(store) as app:
        set_current(app)
        await noop.map(indexes)


async def _feed(store: str, first: int, rate: float, seconds: float) -> int:
    """Send tasks evenly, and say how many."""
    async with AsyncOmniQ(store) as app:
        set_current(app)
        began = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - began) < seconds:
            due = int(rate * elapsed)
            if due > sent:
                await noop.map(range(first + sent, first + due))
                sent = due
            await asyncio.sleep(_STEP_SECONDS)
        return sent


async def _settled(store: str, tasks: int) -> int:
    """How many tasks have succeeded, when they all have."""
    async with AsyncOmniQ(store) as app:
        give_up_at = time.monotonic() + _SETTLED_WITHIN
        while True:
            succeeded = (await app.stats()).totals.get("succeeded", 0)
            if succeeded >= tasks or time.monotonic() > give_up_at:
                return succeeded
            await asyncio.sleep(_STEP_SECONDS)


if __name__ == "__main__":
    answer.give(measure(**json.loads(sys.argv[1])))
