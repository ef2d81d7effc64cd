"""The quickstart notebook as a person meets it: opened in JupyterLab and run from top to bottom."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab_driver import PATIENCE, Lab, Notebook
from playwright.sync_api import Page, expect

QUICKSTART = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"


def test_the_quickstart_runs_and_shows_its_views(page: Page, lab: Lab, folder: Path, shots: Path) -> None:
    shutil.copy(QUICKSTART, folder)
    notebook = Notebook(page, lab, folder, QUICKSTART.name)
    notebook.open()
    # As it was saved, without a kernel's help.
    saved = page.locator(".jp-OutputArea-output", has_text="263 of 263").first
    saved.scroll_into_view_if_needed()
    expect(saved).to_be_visible(timeout=PATIENCE)
    page.screenshot(path=shots / "quickstart-saved.png")
    notebook.run_all()
    last = page.locator(".jp-OutputArea-output", has_text="Stopped 1 worker process.")
    board = page.locator(".omniq .oq-header").first
    expect(board).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".omniq .oq-progress", has_text="263 tasks of nearest_airport").first).to_contain_text(
        "263 of 263", timeout=PATIENCE
    )
    expect(last).to_have_count(1, timeout=PATIENCE)
    notebook.wait_until_idle()
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    for number, widget in enumerate(page.locator(".omniq").all()):
        widget.scroll_into_view_if_needed()
        page.screenshot(path=shots / f"quickstart-{number}.png")
    assert (folder / ".omniq" / "omniq.db").exists()
