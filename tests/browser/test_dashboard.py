"""The dashboard in JupyterLab: it moves, and its buttons work, while a cell is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from lab_driver import PATIENCE, Lab, Notebook, save
from omniq import AsyncOmniQ
from omniq.models.task import TaskStatus
from playwright.sync_api import Page, expect

T = TypeVar("T")

SETUP = """
%load_ext omniq
import asyncio, time
import omniq
%omniq start 4
"""
TASKS = """
@omniq.task(max_retries=0)
async def slow(n):
    await asyncio.sleep(60)

@omniq.task(max_retries=0)
async def quick(n):
    await asyncio.sleep(0.05)
    return n

@omniq.task(max_retries=0)
def flawed(n):
    return 1 / n
"""
BOARD = "omniq.dashboard()"
BUSY = "time.sleep(45)"


@pytest.fixture
def notebook(page: Page, lab: Lab, folder: Path) -> Notebook:
    cells = [
        SETUP + TASKS,
        BOARD,
        "many = await quick.map(range(600))\nsingle = await slow.enqueue(1)\nbad = await flawed.map([0, 1])\nwaiting = await slow.options(queue='later', delay=600).enqueue(2)",
        BUSY,
    ]
    save(folder / "board.ipynb", cells)
    notebook = Notebook(page, lab, folder, "board.ipynb")
    notebook.open()
    notebook.run(0)
    notebook.expect_done(0)
    return notebook


def ask(folder: Path, question: Callable[[AsyncOmniQ], Coroutine[Any, Any, T]]) -> T:
    """What the store holds, by a way around the page and the kernel."""

    async def run() -> T:
        async with AsyncOmniQ(f"sqlite:///{folder}/.omniq/omniq.db") as app:
            return await question(app)

    return asyncio.run(run())


def test_it_moves_and_its_buttons_work_while_a_cell_blocks(notebook: Notebook, folder: Path, shots: Path) -> None:
    page = notebook.page
    notebook.run(1)
    board = page.locator(".omniq").first
    expect(board).to_be_visible(timeout=PATIENCE)
    notebook.run(2)
    notebook.run(3)
    expect(notebook.cell(3).locator(".jp-InputPrompt")).to_have_text("[*]:", timeout=PATIENCE)
    page.wait_for_timeout(3000)
    page.screenshot(path=shots / "dashboard-busy.png")
    board.screenshot(path=shots / "dashboard-board.png")
