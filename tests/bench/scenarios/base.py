"""A scenario: contenders, figures, comparisons, and how one round of one contender is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod

from harness.bench import Bench
from harness.figures import Comparison, Figure, Measured


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

    name: str
    title: str
    contenders: tuple[str, ...]
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...] = ()
    most_rounds: int | None = None

    @abstractmethod
    def measure(self, bench: Bench, contender: str) -> Measured:
        """One round of one contender.

        Raises:
            StepError: A step failed.
        """
