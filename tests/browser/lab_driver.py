"""Drives a real JupyterLab with a real browser. Loopback only; the server ends with the test run, however that ends."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Locator, Page, Playwright, ViewportSize, expect

TOKEN = "omniq-tests"
PATIENCE = 60_000
"""Milliseconds that anything may take; what is measured is whether it happens."""
VIEWPORT: ViewportSize = {"width": 1280, "height": 1000}

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launch(playwright: Playwright) -> Browser:
    """The machine's own browser.

    Raises:
        FileNotFoundError: There is none on the PATH.
    """
    program = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        raise FileNotFoundError(f"no browser: none of {', '.join(_BROWSERS)} is on the PATH")
    return playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Lab:
    """A JupyterLab server on a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.root = home / "notebooks"
        self.settings = home / "settings"
        self.root.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (home / "server.log").open("wb")
        environment = {
            **os.environ,
            "JUPYTERLAB_SETTINGS_DIR": str(self.settings),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "IPYTHONDIR": str(home / "ipython"),
        }
        self._server = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "jupyterlab",
                    "--no-browser",
                    "--allow-root",
                    f"--ServerApp.root_dir={self.root}",
                ),
                *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"),
                *(f"--IdentityProvider.token={TOKEN}", "--LabApp.news_url="),
            ],
            env=environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/api/status?token={TOKEN}"):
                    return
            except OSError:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def configure(self) -> None:
        """A quiet page, that draws cells also where nobody looks."""
        for name, settings in {
            "apputils-extension/themes": {"theme": "JupyterLab Light"},
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"},
        }.items():
            file = self.settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(settings))

    def close(self) -> None:
        for kernel in self._get("kernels"):
            request = urllib.request.Request(f"{self.url}/api/kernels/{kernel['id']}?token={TOKEN}", method="DELETE")
            urllib.request.urlopen(request).close()
        self._server.send_signal(signal.SIGINT)
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._log.close()

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/{what}?token={TOKEN}") as answer:
            return json.load(answer)


class Notebook:
    """A notebook in its page."""

    def __init__(self, page: Page, lab: Lab, folder: Path, name: str) -> None:
        self.page = page
        self.folder = folder
        self.file = folder / name
        place = folder.relative_to(lab.root)
        # A workspace of its own: JupyterLab opens again what was open in it.
        self._url = f"{lab.url}/lab/workspaces/{folder.name[:40]}/tree/{place}/{name}?token={TOKEN}"

    def open(self) -> None:
        self.page.goto(self._url)
        expect(self.page.locator(".jp-NotebookPanel .jp-Cell").first).to_be_visible(timeout=PATIENCE)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        # Before that, JupyterLab drops what is run.
        expect(self.page.get_by_text("| Idle", exact=False).first).to_be_visible(timeout=PATIENCE)

    def cell(self, number: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def run(self, number: int) -> None:
        """Run one cell, and do not wait for it."""
        cell = self.cell(number)
        cell.scroll_into_view_if_needed()
        cell.locator(".jp-InputArea-prompt").click()
        self.page.keyboard.press("Control+Enter")

    def run_all(self) -> None:
        self.page.locator(".lm-MenuBar-itemLabel:text-is('Run')").click()
        self.page.locator(".lm-Menu-itemLabel:text-is('Run All Cells')").click()

    def darken(self) -> None:
        """Choose JupyterLab's dark theme."""
        self.page.locator(".lm-MenuBar-itemLabel:text-is('Settings')").click()
        self.page.locator(".lm-Menu-itemLabel:text-is('Theme')").hover()
        self.page.locator(".lm-Menu-itemLabel:text-is('JupyterLab Dark')").click()
        self.page.wait_for_timeout(1000)  # the style sheet is loaded meanwhile

    def save(self) -> None:
        before = self.file.stat().st_mtime_ns
        self.page.keyboard.press("Escape")
        self.page.keyboard.press("Control+s")
        while self.file.stat().st_mtime_ns == before:
            self.page.wait_for_timeout(50)

    def expect_done(self, number: int, *, timeout: float = PATIENCE) -> None:
        """Wait until a cell has run."""
        expect(self.cell(number).locator(".jp-InputPrompt")).not_to_have_text("[*]:", timeout=timeout)
        expect(self.cell(number).locator(".jp-InputPrompt")).not_to_have_text("[ ]:", timeout=timeout)


def save(path: Path, cells: list[str]) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
