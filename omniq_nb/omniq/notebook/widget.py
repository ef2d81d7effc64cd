"""The widget: one anywidget model for each view."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from .board import Board
from .html import view_html
from .model import Json
from .progress import Progress
from .publisher import Publisher

_STATIC = Path(__file__).parent / "static"
_FILLED_WITHIN = 2.0

THEMES = ("auto", "light", "dark")


def _bundle(name: str) -> str | Path:
    # A path has anywidget watch the file, and never let go of the widget: only for work on the front end.
    path = _STATIC / name
    return path if os.environ.get("ANYWIDGET_HMR") else path.read_text(encoding="utf-8")


class BoardWidget(anywidget.AnyWidget):
    """A view of an app in the notebook. Displaying it again shows the same view once more.

    Args:
        publisher: Feeds it.
        view: Which one.
        progress: The tasks that a progress view watches.
        theme: ``"auto"`` follows the notebook.
    """

    _esm = _bundle("omniq.js")
    _css = _bundle("omniq.css")
    view = traitlets.Unicode("dashboard").tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    theme = traitlets.Enum(THEMES, default_value="auto").tag(sync=True)

    def __init__(
        self, publisher: Publisher, view: str, *, progress: Progress | None = None, theme: str = "auto"
    ) -> None:
        super().__init__(view=view, theme=theme)
        self.publisher = publisher
        self.board = Board(view, _Page(self), progress)
        self.on_msg(self._on_message)
        _answer_while_busy(self.comm)
        publisher.add(self.board)

    def _on_message(self, _: object, content: Any, __: object) -> None:
        # On whatever thread the front end's message arrived.
        if isinstance(content, dict) and content.get("type") == "command":
            if self.board not in self.publisher.boards and not self.publisher.is_closed:
                self.publisher.add(self.board)
            self.publisher.post(self.board, content)

    def close(self) -> None:
        """Take the view off the page, and forget it."""
        self.publisher.remove(self.board)
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()

    def snapshot(self) -> Json:
        """What it shows now; waits a moment for a look at the store."""
        if not self.publisher.is_closed:
            # An event of its own: the answer to an earlier question may be on its way, and tells how things stood then.
            seen = threading.Event()
            self.publisher.post(self.board, {"op": "hello", "seen": seen})
            seen.wait(_FILLED_WITHIN)
        return self.board.model

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[Json, Json] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": view_html(self.view, self.snapshot())}, metadata

    def __repr__(self) -> str:
        return f"<OmniQ {self.view}>"


class _Page:
    """A board's messages go to the pages that show its widget."""

    def __init__(self, widget: BoardWidget) -> None:
        self._widget = widget

    @property
    def is_closed(self) -> bool:
        return self._widget.comm is None

    def tell(self, message: Json) -> None:
        if not self.is_closed:
            self._widget.send(message)

    def keep(self, state: Json) -> None:
        if not self.is_closed:
            self._widget.state = state


def _answer_while_busy(comm: Any) -> None:
    """Let commands come on the subshell that the page sent them to, not behind the cell that runs.

    Some ipykernels send a comm's messages after the shell that last published on it. What undoes that is private to
    them: where it is missing or has changed, commands wait for the cell, as they do in kernels without subshells.
    """
    if callable(getattr(comm, "_reply_subshell_for", None)):
        comm._reply_subshell_for = lambda _, default: default  # noqa: SLF001 -- see above
