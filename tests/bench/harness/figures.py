"""Figures of a scenario, and what is told about them: medians of rounds, ratios taken within one round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Value = float | int | str | None
Measured = Mapping[str, Value]
"""One contender's figures in one round, by key."""
Round = Mapping[str, Measured]
"""The contenders' figures in one round, by name."""
Source = tuple[str, str]
"""A contender and one of its figures."""


class Figure(NamedTuple):
    """A column of a scenario's table.

    Attributes:
        key: Its name in the results.
        title: Its name in the table, with the unit.
        digits: After the point.
    """

    key: str
    title: str
    digits: int = 0


class Comparison(NamedTuple):
    """One of OmniQ's figures, beside the best of others in the same round.

    Attributes:
        what: What is compared.
        subject: OmniQ's figure.
        others: The figures it is compared with; none: it stands for itself.
        goal: What the project aims at.
        less_is_better: Times and sizes.
        digits: After the point.
    """

    what: str
    subject: Source
    others: tuple[Source, ...] = ()
    goal: str = ""
    less_is_better: bool = False
    digits: int = 0


class Outcome(NamedTuple):
    """What a comparison came to; each number is a median of rounds.

    Attributes:
        value: OmniQ's.
        best: The best other's name, and what it reached; the one that was best most often.
        ratios: OmniQ's value as a multiple of the best other's, in each round.
    """

    value: float
    best: tuple[str, float] | None
    ratios: list[float]


def numbers(rounds: Sequence[Round], source: Source) -> list[float]:
    """A figure in all rounds that have it."""
    name, key = source
    values = [measured[name].get(key) for measured in rounds if name in measured]
    return [value for value in values if isinstance(value, int | float)]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of the others does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def compare(comparison: Comparison, rounds: Sequence[Round]) -> Outcome | None:
    """What a comparison comes to; ``None``: it was not measured."""
    values = numbers(rounds, comparison.subject)
    if not values:
        return None
    pick = min if comparison.less_is_better else max
    ratios: list[float] = []
    winners: list[str] = []
    for measured in rounds:
        mine = numbers([measured], comparison.subject)
        others = [(found[0], name) for name, key in comparison.others if (found := numbers([measured], (name, key)))]
        if mine and others:
            best, name = pick(others)
            winners.append(name)
            if best:
                ratios.append(mine[0] / best)
    if not winners:
        return Outcome(median(values), None, [])
    winner = statistics.mode(winners)
    source = next(source for source in comparison.others if source[0] == winner)
    return Outcome(median(values), (winner, median(numbers(rounds, source))), ratios)
