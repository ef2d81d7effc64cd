"""How a step in a process of its own gives its answer: one marked line of JSON among whatever else it prints."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_MARK = "@@"


def give(answer: Any) -> None:
    """Print the answer."""
    # A library may have left the pipe non-blocking, and then takes no more of a long answer than fits into it.
    os.set_blocking(sys.stdout.fileno(), True)
    print(_MARK + json.dumps(answer), flush=True)


def find(output: str) -> Any:
    """The answer in what a step printed.

    Raises:
        LookupError: There is none.
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    raise LookupError
