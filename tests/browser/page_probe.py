"""Watches a page while a dashboard moves in it, for the browser tests and the benchmarks."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Page, WebSocket

_SCRIPT = (Path(__file__).parent / "page_probe.js").read_text()
_UPDATE = re.compile(rb'"type": ?"update"')
_STATE = re.compile(rb'"method": ?"update"')
_UNANSWERED = "() => document.querySelector('.oq-tasks-list')?.getAttribute('aria-busy') === 'true'"


class Seen(NamedTuple):
    """What a page went through. Times are milliseconds.

    Attributes:
        seconds: How long it was watched.
        frames: From each animation frame to the next.
        long_tasks: What kept the page's thread for more than 50 ms at a time.
        clicks: For each click on a tab: until it was drawn as pressed, and until the tasks were drawn that it asks for.
        counts: The numbers of succeeded tasks that were shown, one after the other.
        renders: How many times something in the view changed; what changes together counts once.
        nodes: The most elements that the view had.
        busy: The share of a processor's time that the page's thread used: a busy machine does not add to it.
    """

    seconds: float
    frames: list[float]
    long_tasks: list[float]
    clicks: list[dict[str, float | None]]
    counts: list[str]
    renders: int
    nodes: int
    busy: float


class Size(NamedTuple):
    """What a page holds after its garbage was collected.

    Attributes:
        nodes: DOM nodes, those among them that nobody sees but somebody holds.
        listeners: Event listeners.
        heap: Bytes of JavaScript.
    """

    nodes: int
    listeners: int
    heap: int


class Probe:
    """A page under observation.

    Args:
        page: In Chromium.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.evaluate(_SCRIPT)
        self._began = 0.0
        self._used = 0.0

    def start(self) -> None:
        """Watch from now on."""
        self._used = self._metrics()["ThreadTime"]
        self._began = time.monotonic()
        self._page.evaluate("omniqProbe.start()")

    def stop(self) -> Seen:
        """What was seen."""
        found: dict[str, Any] = self._page.evaluate("omniqProbe.stop()")
        seconds = time.monotonic() - self._began
        busy = (self._metrics()["ThreadTime"] - self._used) / seconds
        return Seen(
            seconds=seconds,
            frames=found["frames"],
            long_tasks=found["long"],
            clicks=found["clicks"],
            counts=found["counts"],
            renders=found["renders"],
            nodes=found["nodes"],
            busy=busy,
        )

    def size(self) -> Size:
        """What the page holds now."""
        self._devtools.send("HeapProfiler.collectGarbage")
        metrics = self._metrics()
        return Size(int(metrics["Nodes"]), int(metrics["JSEventListeners"]), int(metrics["JSHeapUsedSize"]))

    def click_tab(self, label: str) -> None:
        """Choose which tasks the dashboard lists, with the mouse, and wait until it has got them."""
        # By its place: the driver's own click would look for several frames whether the button stands still.
        box = self._page.locator(f".omniq .oq-tab[title='{label}']").bounding_box()
        assert box is not None
        self._page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        while self._page.evaluate(_UNANSWERED):
            self._page.wait_for_timeout(50)

    def _metrics(self) -> dict[str, float]:
        return {each["name"]: each["value"] for each in self._devtools.send("Performance.getMetrics")["metrics"]}


class Traffic:
    """What a kernel tells a page's views, from now on: sizes of messages in bytes.

    Args:
        page: Before it is opened: its connections are watched from their beginning.

    Attributes:
        updates: Of the messages that say what has changed.
        states: Of the renewals of what a reload finds.
    """

    def __init__(self, page: Page) -> None:
        self.updates: list[int] = []
        self.states: list[int] = []
        page.on("websocket", self._follow)

    def _follow(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._take)

    def _take(self, payload: bytes | str) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        if b"comm_msg" in data:
            if _UPDATE.search(data):
                self.updates.append(len(data))
            elif _STATE.search(data):
                self.states.append(len(data))

    def clear(self) -> None:
        """Count from now on."""
        self.updates.clear()
        self.states.clear()
