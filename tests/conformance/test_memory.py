"""The conformance suite on the memory driver."""

from __future__ import annotations

from omniq.testing import DriverConformance
from omniq.testing.memory import MemoryHarness


class TestMemory(MemoryHarness, DriverConformance):
    """Memory keeps the contract."""
