"""The whole suite in one class."""

from __future__ import annotations

import pytest

# Before the topics are imported: pytest explains their failures as it does those of a test file.
pytest.register_assert_rewrite(
    *(
        f"{__package__}.{topic}"
        for topic in (
            "batches",
            "claims",
            "delay",
            "events",
            "expiry",
            "fencing",
            "lifecycle",
            "machine",
            "order",
            "races",
            "scans",
            "waits",
        )
    )
)

from .batches import BatchTests
from .claims import ClaimTests
from .delay import DelayTests
from .events import EventTests
from .expiry import ExpiryTests
from .fencing import FencingTests
from .lifecycle import LifecycleTests
from .machine import ModelTests
from .order import OrderTests
from .races import RaceTests
from .scans import ContentTests, ScanTests
from .waits import WaitTests


# pytest begins with the tests of the last base.
class DriverConformance(
    ModelTests,
    RaceTests,
    LifecycleTests,
    EventTests,
    WaitTests,
    ContentTests,
    ScanTests,
    ExpiryTests,
    BatchTests,
    FencingTests,
    DelayTests,
    OrderTests,
    ClaimTests,
):
    """Every rule of `omniq.storage.driver`, as tests. Subclass it, and fill in what `DriverHarness` asks for."""
