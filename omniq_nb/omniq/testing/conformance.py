"""The whole suite in one class."""

from __future__ import annotations

from . import explained  # noqa: F401 -- before the topics
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
from .standing import StandingTests
from .waits import WaitTests


# pytest begins with the tests of the last base.
class DriverConformance(
    ModelTests,
    RaceTests,
    LifecycleTests,
    EventTests,
    StandingTests,
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
