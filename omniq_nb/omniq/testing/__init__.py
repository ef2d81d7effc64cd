"""What a backend's author needs to prove a driver: one suite for every store, a clock that stands still, and a model.

Install ``omniq-nb[test]``, subclass `DriverConformance`, say how to reach the store, and run pytest::

    class TestMyStore(DriverConformance):
        driver_class = MyDriver

        def url(self, tmp_path):
            return f"mystore://localhost/{tmp_path.name}"

        async def read_raw(self, url, kind, key):
            ...  # what the store holds, by its own client

        async def write_raw(self, url, record):
            ...  # put it there, by its own client

The tests are plain functions that need no plugin. Those of a capability that the driver does not declare are skipped.
The topics prove the rules of `omniq.storage.driver`:

========== ===========================================================================================================
claims     a claim takes what is due, makes it running, and nobody else gets it
order      rank, then the partition's position, then age, then key
delay      records become claimable at their moment, after a delay as after a lease
fencing    a write applies only while the version stands that it rests on
batches    each operation is on its own, in order; `after` ties one to another; counts stay right
expiry     what has expired is found, and nothing happens to it by itself
scans      every filter, page by page, in a stable order, while others write
contents   any body and any name comes back as it was
waits      hints come, and none slips through between looking and waiting
standing   a claim that stands is given what comes, once, and holds it for a short time
events     the log is filtered, read in order, trimmed and followed
lifecycle  opening, closing, cloning, cancelled and concurrent calls, and what outlives the driver
races      twenty claimers in four threads and four processes; one winner; processes that are killed
model      any sequence of calls that Hypothesis finds: the driver and a hundred lines of Python agree
========== ===========================================================================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .clock import FakeClock
    from .conformance import DriverConformance
    from .harness import DriverHarness, StoreUnderTest, driver_test
    from .model import Model

__all__ = ["DriverConformance", "DriverHarness", "FakeClock", "Model", "StoreUnderTest", "driver_test"]

_HOMES = {
    "DriverConformance": "conformance",
    "DriverHarness": "harness",
    "FakeClock": "clock",
    "Model": "model",
    "StoreUnderTest": "harness",
    "driver_test": "harness",
}


def __getattr__(name: str) -> object:
    # Late, because only the suite needs pytest and Hypothesis: not the clock, the model, or the races' processes.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
