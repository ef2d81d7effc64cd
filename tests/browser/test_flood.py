"""The dashboard while tasks finish faster than anybody can read. Nothing here depends on how fast the machine is.

How smooth the page stays is measured by the benchmark ``page``.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab_driver import PATIENCE, Lab, Notebook, save
from omniq import AsyncOmniQ
from page_probe import Probe, Seen, Traffic
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

SETUP = """
%load_ext omniq
import asyncio
import omniq
%omniq start 1

@omniq.task
async def tick(n):
    return n
"""
BOARD = "omniq.dashboard()"
FLOOD = """
for _ in range(60):
    await tick.map(range(50))
    await asyncio.sleep(0.05)
"""
SENT = 3000

UPDATES_PER_SECOND = 10
RENDERS_PER_SECOND = 25
"""An update of the numbers may be drawn by itself, and that of the list in a few steps; clocks tick once a second."""
EXTRA = 10
"""What commands ask for, and what was under way."""
UPDATE_BYTES = 40_000
ELEMENTS = 1600
"""Of a view whose list is full, with some room."""
LIST_NODES = 3000
"""Two full lists: a page that keeps lists which nobody sees has many more after a flood."""


@pytest.fixture
def said(page: Page) -> list[str]:
    """What the browser's console says: errors, and whatever names the package."""
    said: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" or "omniq" in message.text:
            said.append(f"{message.type}: {message.text}")

    page.on("console", note)
    return said


@pytest.fixture
def traffic(page: Page) -> Traffic:
    return Traffic(page)


@pytest.fixture
def notebook(page: Page, lab: Lab, folder: Path, said: list[str], traffic: Traffic) -> Notebook:
    """A worker in a process of its own, and a dashboard."""
    save(folder / "flood.ipynb", [SETUP, BOARD, FLOOD])
    notebook = Notebook(page, lab, folder, "flood.ipynb")
    notebook.open()
    notebook.run(0)
    notebook.expect_done(0)
    notebook.run(1)
    expect(page.locator(".omniq").first).to_be_visible(timeout=PATIENCE)
    return notebook


def stored(notebook: Notebook) -> dict[str, int]:
    """How many tasks there are in each state, by a way around the page and the kernel."""

    async def run() -> dict[str, int]:
        async with AsyncOmniQ(f"sqlite:///{notebook.folder}/.omniq/omniq.db") as app:
            return dict((await app.stats()).totals)

    with ThreadPoolExecutor() as elsewhere:  # Playwright has a loop running on this thread
        return elsewhere.submit(asyncio.run, run()).result()


def succeeded(notebook: Notebook) -> Locator:
    return notebook.page.locator(".omniq .oq-total[data-status=succeeded] .oq-total-count").first


def flood(notebook: Notebook, probe: Probe, picture: Path, *, total: int) -> Seen:
    """Let tasks flow until all are done, click while they do, and take a picture."""
    board = notebook.page.locator(".omniq").first
    notebook.run(2)
    board.scroll_into_view_if_needed()
    probe.start()
    for tab in ("Succeeded", "All"):
        notebook.page.wait_for_timeout(500)
        probe.click_tab(tab)
    board.screenshot(path=picture)
    expect(succeeded(notebook)).to_have_attribute("title", f"{total:,}", timeout=PATIENCE)
    notebook.expect_done(2)
    return probe.stop()


def test_a_flood_of_tasks_is_told_in_few_small_steps_and_leaves_nothing_behind(
    notebook: Notebook, traffic: Traffic, said: list[str], shots: Path
) -> None:
    probe = Probe(notebook.page)
    traffic.clear()
    seen = flood(notebook, probe, shots / "flood-light.png", total=SENT)

    assert stored(notebook).get("succeeded") == SENT
    numbers = [int(count.replace(",", "")) for count in seen.counts]
    assert len(numbers) >= 5, numbers
    assert numbers == sorted(numbers)
    assert [click for click in seen.clicks if click["answered"] is None] == []

    assert len(traffic.updates) >= 5
    assert len(traffic.updates) <= UPDATES_PER_SECOND * seen.seconds + EXTRA
    assert max(traffic.updates) < UPDATE_BYTES
    assert len(traffic.states) <= seen.seconds + EXTRA
    assert seen.renders <= RENDERS_PER_SECOND * seen.seconds + EXTRA
    assert seen.nodes <= ELEMENTS

    before = probe.size()
    first = notebook.page.locator(".oq-task").first.element_handle()
    notebook.darken()
    seen = flood(notebook, probe, shots / "flood-dark.png", total=2 * SENT)
    after = probe.size()

    assert stored(notebook).get("succeeded") == 2 * SENT
    assert seen.nodes <= ELEMENTS
    assert after.nodes <= before.nodes + LIST_NODES
    assert first.evaluate("row => row.isConnected"), "rows are made anew"
    assert said == []
