"""The dashboard in JupyterLab: it moves, and its buttons work, while a cell is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from lab_driver import PATIENCE, Lab, Notebook, save
from omniq import AsyncOmniQ
from playwright.sync_api import Locator, Page, expect

T = TypeVar("T")

SETUP = """
%load_ext omniq
import asyncio, time
import omniq
%omniq start 4

@omniq.task(max_retries=0)
async def slow(n):
    await asyncio.sleep(300)

@omniq.task(max_retries=0)
async def quick(n):
    await asyncio.sleep(0.05)
    return n

@omniq.task(max_retries=0)
def flawed(n):
    return 1 / n
"""
BOARD = "omniq.dashboard()"
WORK = """
waiting = await slow.options(queue="later", delay=600).enqueue(2)
many = await quick.map(range(300))
bad = await flawed.enqueue(0)
single = await slow.options(priority=5).enqueue(1)
"""
BUSY = "time.sleep(100)"


@pytest.fixture
def notebook(page: Page, lab: Lab, folder: Path) -> Notebook:
    """Workers, a dashboard, and tasks of every kind."""
    save(folder / "board.ipynb", [SETUP, BOARD, WORK, BUSY, "many"])
    notebook = Notebook(page, lab, folder, "board.ipynb")
    notebook.open()
    notebook.run(0)
    notebook.expect_done(0)
    notebook.run(1)
    expect(page.locator(".omniq").first).to_be_visible(timeout=PATIENCE)
    return notebook


def ask(notebook: Notebook, question: Callable[[AsyncOmniQ], Coroutine[Any, Any, T]]) -> T:
    """What the store holds, by a way around the page and the kernel."""

    async def run() -> T:
        async with AsyncOmniQ(f"sqlite:///{notebook.folder}/.omniq/omniq.db") as app:
            return await question(app)

    with ThreadPoolExecutor() as elsewhere:  # Playwright has a loop running on this thread
        return elsewhere.submit(asyncio.run, run()).result()


def status_of(notebook: Notebook, func: str) -> str:
    async def find(app: AsyncOmniQ) -> str:
        (task,) = [
            task for task in (await app.list_tasks(limit=1000)).tasks if task.func == func and task.queue == "default"
        ]
        return task.status.value

    return ask(notebook, find)


def row(page: Page, func: str, queue: str = "default") -> Locator:
    """The line of a task."""
    return page.locator(".oq-tasks tr", has_text=func).filter(has_text=queue).first


def occupy(notebook: Notebook) -> None:
    """Have the kernel busy with a cell that lets nothing else run."""
    notebook.run(3)
    expect(notebook.cell(3).locator(".jp-InputPrompt")).to_have_text("[*]:", timeout=PATIENCE)


def test_it_moves_and_its_buttons_work_while_a_cell_blocks(notebook: Notebook, shots: Path) -> None:
    page = notebook.page
    board = page.locator(".omniq").first
    notebook.run(2)
    notebook.expect_done(2)
    occupy(notebook)
    succeeded = board.locator(".oq-total", has_text="Succeeded")
    seen = set()
    for _ in range(40):
        seen.add(succeeded.inner_text())
        page.wait_for_timeout(100)
    assert len(seen) > 3, seen
    board.scroll_into_view_if_needed()
    page.screenshot(path=shots / "dashboard-busy.png")
    expect(succeeded).to_contain_text("300", timeout=PATIENCE)

    expect(row(page, "slow")).to_contain_text("Running", timeout=PATIENCE)
    row(page, "slow").get_by_role("button", name="Cancel").click()
    expect(row(page, "slow")).to_contain_text("Cancelled", timeout=PATIENCE)
    assert status_of(notebook, "slow") == "cancelled"

    expect(row(page, "flawed")).to_contain_text("Failed", timeout=PATIENCE)
    row(page, "flawed").locator(".oq-task-open").click()
    expect(board.get_by_text("ZeroDivisionError").first).to_be_visible(timeout=PATIENCE)
    board.screenshot(path=shots / "dashboard-detail.png")

    queue = board.locator(".oq-queues tr", has_text="later")
    queue.get_by_role("button", name="Pause").click()
    expect(queue.get_by_role("button", name="Resume")).to_be_visible(timeout=PATIENCE)
    assert ask(notebook, paused) == {"later"}
    queue.get_by_role("button", name="Resume").click()
    expect(queue.get_by_role("button", name="Pause")).to_be_visible(timeout=PATIENCE)
    assert ask(notebook, paused) == set()

    row(page, "slow").get_by_role("button", name="Retry").click()
    expect(row(page, "slow")).to_contain_text("Running", timeout=PATIENCE)
    assert status_of(notebook, "slow") == "running"
    expect(notebook.cell(3).locator(".jp-InputPrompt")).to_have_text("[*]:")  # the cell has been busy all the time


async def paused(app: AsyncOmniQ) -> set[str]:
    return set((await app.stats()).paused)


def test_a_reload_of_the_page_finds_the_state_again(notebook: Notebook, shots: Path) -> None:
    page = notebook.page
    notebook.run(2)
    notebook.expect_done(2)
    notebook.run(4)
    bar = page.locator(".omniq .oq-progress")
    expect(bar).to_contain_text("300 of 300", timeout=PATIENCE)
    notebook.save()
    page.reload()
    expect(bar).to_contain_text("300 of 300", timeout=PATIENCE)
    expect(row(page, "slow")).to_contain_text("Running", timeout=PATIENCE)
    page.screenshot(path=shots / "reloaded.png")
    row(page, "slow").get_by_role("button", name="Cancel").click()
    expect(row(page, "slow")).to_contain_text("Cancelled", timeout=PATIENCE)


def test_dark(notebook: Notebook, shots: Path) -> None:
    page = notebook.page
    notebook.run(2)
    notebook.run(4)
    board = page.locator(".omniq").first
    expect(page.locator(".omniq .oq-progress")).to_contain_text("300 of 300", timeout=PATIENCE)
    page.screenshot(path=shots / "light.png", full_page=True)
    board.screenshot(path=shots / "board-light.png")
    page.locator(".omniq").nth(1).screenshot(path=shots / "progress-light.png")
    notebook.darken()
    expect(board).to_have_attribute("data-theme", "dark", timeout=PATIENCE)
    page.screenshot(path=shots / "dark.png", full_page=True)
    board.screenshot(path=shots / "board-dark.png")
    page.locator(".omniq").nth(1).screenshot(path=shots / "progress-dark.png")
