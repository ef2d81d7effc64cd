"""What is measured: one class for each scenario."""

from __future__ import annotations

from .backlog import Backlog
from .base import Scenario
from .dashboard import Dashboard
from .drain import Drain
from .durability import Durability
from .imports import Imports
from .kernel import Kernel
from .latency import Latency
from .memory import Memory
from .page import Page
from .sending import Sending

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Drain(),
        Sending(),
        Latency(),
        Kernel(),
        Backlog(),
        Durability(),
        Memory(),
        Imports(),
        Dashboard(),
        Page(),
    )
}
"""In the order of the report."""
