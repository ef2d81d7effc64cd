"""A scenario: contenders, figures, comparisons, and how one round of one contender is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from harness.bench import Bench
from harness.figures import Comparison, Figure, Measured, Source

QUEUES = ("omniq", "huey", "huey-nosync", "litequeue", "persist-queue", "flexiq")
PEERS = ("huey", "litequeue", "persist-queue", "flexiq")
"""Those whose file survives a power cut, as OmniQ's does; only these are compared with goals."""
WITH_RESULTS = ("huey", "flexiq")
"""Those of them that store results."""
UNSAFE = "huey-nosync"


class Scenario(ABC):
    """One scenario.

    Attributes:
        name: For the command line and the file of results.
        title: For the report.
        contenders: Measured one after the other in each round.
        figures: The columns of its table.
        comparisons: Its lines of the summary.
        most_rounds: No more rounds than this, where one takes long and varies little.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    contenders: ClassVar[tuple[str, ...]]
    figures: ClassVar[tuple[Figure, ...]]
    comparisons: ClassVar[tuple[Comparison, ...]] = ()
    most_rounds: ClassVar[int | None] = None

    @abstractmethod
    def measure(self, bench: Bench, contender: str) -> Measured:
        """One round of one contender.

        Raises:
            StepError: A step failed.
        """


def sources(names: tuple[str, ...], key: str) -> tuple[Source, ...]:
    """The same figure of several contenders."""
    return tuple((name, key) for name in names)
