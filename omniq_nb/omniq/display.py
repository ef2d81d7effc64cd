"""How objects show themselves in a notebook: the front end's code loads when one is shown, not before."""

from __future__ import annotations

import importlib
from typing import Any


class Displayed:
    """Gives an object what IPython asks for: live where the front end has widgets, and HTML and text for a saved
    notebook.
    """

    __slots__ = ()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        # By name: what is shown knows nothing of notebooks.
        display = importlib.import_module("omniq.notebook.display")
        bundle: tuple[dict[str, Any], dict[str, Any]] = display.mimebundle(self)
        return bundle
