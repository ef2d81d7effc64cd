"""What tells a store from all others, wherever it is reached from: a URL does not, it may name one on each machine."""

from __future__ import annotations

from ..ids import new_id
from ..models.record import Insert, Record
from .driver import Driver

IDENTITY = "identity"
"""Kind of the one record that holds it."""
_KEY = "store"


async def identity_of(driver: Driver) -> str:
    """The store's own name, given to it when it is first asked for."""
    (record,) = await driver.get([(IDENTITY, _KEY)])
    if record is not None:
        return record.body.decode()
    now = driver.clock()
    made = Record(IDENTITY, _KEY, "", "", 0, None, None, 0, 1, now, now, None, new_id().encode())
    await driver.write([Insert(made)])
    # Another process may have been faster.
    return await identity_of(driver)
