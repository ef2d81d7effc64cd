"""OmniQ's task: a module of its own, since ``omniq worker --import`` names it."""

from __future__ import annotations

import omniq
from harness.trace import compute, mark


@omniq.task
async def noop(index: int) -> dict[str, int]:
    mark(index)
    compute()
    return {"i": index}
