"""Writes whose answer was lost: they are sent again, and what the first one did is recognised.

A connection that breaks after a write was sent leaves open whether it was carried out. Sent again, an `Insert` or
`Replace` that was does not apply, and looks as if somebody else had been faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..errors import StoreUnavailableError
from ..models.record import Insert, Op, Record, Replace
from .driver import Driver

_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds between tries: what a server takes that is restarted."""


async def write_surely(driver: Driver, ops: Sequence[Op], *, again: bool = False) -> list[bool]:
    """`Driver.write`, and once more where it is not known whether the first write got there.

    Args:
        driver: The store.
        ops: A batch.
        again: The batch was written before, with an answer that did not come.

    Raises:
        StoreUnavailableError: The store stays away.
    """
    pauses = iter(_PAUSES)
    while True:
        try:
            outcomes = await driver.write(ops)
        except StoreUnavailableError as error:
            again = again or error.sent
            pause = next(pauses, None)
            if not again or pause is None:
                raise
            await asyncio.sleep(pause)
        else:
            return await _recognised(driver, ops, outcomes) if again else outcomes


async def _recognised(driver: Driver, ops: Sequence[Op], outcomes: list[bool]) -> list[bool]:
    """The outcomes, with those corrected that are due to the same batch itself."""
    unsure = [(at, op) for at, op in enumerate(ops) if not outcomes[at] and isinstance(op, Insert | Replace)]
    there = await driver.get([(op.record.kind, op.record.key) for _, op in unsure]) if unsure else []
    corrected = list(outcomes)
    for (at, op), stored in zip(unsure, there, strict=True):
        corrected[at] = stored is not None and _is_its_work(op, stored)
    return corrected


def _is_its_work(op: Insert | Replace, stored: Record) -> bool:
    """Whether the stored record is what the operation wrote, or has become of it for sure."""
    written = op.record
    if stored.created_at != written.created_at:
        return False
    version = 1 if isinstance(op, Insert) else op.previous.version + 1
    if stored.version != version:
        # Ids are never given twice, so a younger version of an inserted record comes from this insertion.
        return isinstance(op, Insert) and stored.version > version
    return (stored.state, stored.updated_at, stored.body) == (written.state, written.updated_at, written.body)
