"""What is measured: one class for each scenario."""

from __future__ import annotations

from .backlog import Backlog
from .base import Scenario
from .dashboard import Dashboard
from .drain import Drain, DrainBesideMemory
from .durability import Durability
from .imports import Imports
from .kernel import Kernel
from .latency import Latency
from .memory import Memory
from .page import Page
from .rivals import SQLITE, STORES, Rivals
from .sending import Sending


def _on(rivals: Rivals) -> tuple[Scenario, ...]:
    drain = DrainBesideMemory() if rivals is SQLITE else Drain(rivals)
    return (drain, Sending(rivals), Latency(rivals), Backlog(rivals))


_OF_STORES = {kind: _on(rivals) for kind, rivals in STORES.items()}

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        *(scenario for scenarios in _OF_STORES.values() for scenario in scenarios),
        Kernel(),
        Durability(),
        Memory(),
        Imports(),
        Dashboard(),
        Page(),
    )
}
"""In the order of the report."""

GROUPS = {kind: [scenario.name for scenario in scenarios] for kind, scenarios in _OF_STORES.items()}
"""Short names for all scenarios on a store."""
