"""The report: a summary of goals, and a table for each scenario, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from .figures import Comparison, Figure, compare, numbers
from .figures import median as middle
from .results import Results

NOTHING = "-"


class Reported(Protocol):
    """What a report needs of a scenario."""

    title: str
    figures: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...]
    contenders: tuple[str, ...]


def render(found: Sequence[tuple[Reported, Results]]) -> str:
    """The whole report."""
    parts = ["# Benchmarks", *_preface([results for _, results in found]), "## Summary", _summary(found)]
    for scenario, results in found:
        parts += [f"## {scenario.title}", _table(scenario, results), *_remarks(results)]
    parts += ["## Contenders", _contenders([results for _, results in found])]
    return "\n\n".join(parts) + "\n"


def _preface(found: Sequence[Results]) -> Iterator[str]:
    for machine in {tuple(results.machine.items()) for results in found}:
        yield ", ".join(f"{key}: {value}" for key, value in machine)
    yield (
        "Medians of interleaved rounds, smallest and largest in parentheses. A ratio is taken within each round. "
        "Trust ratios more than numbers: see tests/bench/README.md."
    )
    trials = [f"{results.scenario} at {results.scale:g}" for results in found if results.scale != 1]
    if trials:
        yield f"**No more than a trial, measured at a part of its size: {', '.join(trials)}.**"


def _summary(found: Sequence[tuple[Reported, Results]]) -> str:
    rows = [
        [_what(comparison), *_outcome(comparison, results), comparison.goal]
        for scenario, results in found
        for comparison in scenario.comparisons
    ]
    return _markdown(["what", "OmniQ", "best other", "OmniQ as a multiple of it", "goal"], rows)


def _what(comparison: Comparison) -> str:
    return f"{comparison.what} (less is better)" if comparison.less_is_better else comparison.what


def _outcome(comparison: Comparison, results: Results) -> list[str]:
    outcome = compare(comparison, results.rounds)
    if outcome is None:
        return ["not measured", NOTHING, NOTHING]
    value = _number(outcome.value, comparison.digits)
    if outcome.best is None:
        return [value, NOTHING, NOTHING]
    name, best = outcome.best
    return [
        value,
        f"{name}: {_number(best, comparison.digits)}",
        _spread(outcome.ratios, 2) if outcome.ratios else NOTHING,
    ]


def _table(scenario: Reported, results: Results) -> str:
    rows = []
    for name in scenario.contenders:
        if name in results.absent:
            rows.append([name, results.absent[name], *[""] * (len(scenario.figures) - 1)])
        elif any(name in measured for measured in results.rounds):
            rows.append([name, *(_cell(results, name, figure) for figure in scenario.figures)])
        elif name in results.failed:
            rows.append([name, "failed, see below", *[""] * (len(scenario.figures) - 1)])
    return _markdown(["", *(figure.title for figure in scenario.figures)], rows)


def _cell(results: Results, name: str, figure: Figure) -> str:
    values = numbers(results.rounds, (name, figure.key))
    if values:
        return _spread(values, figure.digits)
    texts = [measured[name].get(figure.key) for measured in results.rounds if name in measured]
    return str(next((text for text in texts if text is not None), NOTHING))


def _remarks(results: Results) -> Iterator[str]:
    for name, errors in results.failed.items():
        yield f"**{name} failed in {len(errors)} rounds.** The first time:\n\n```\n{errors[0].strip()}\n```"
    if results.server:
        yield f"On {results.server}."
    loads = ", ".join(f"{load:.1f}" for load in results.loads)
    yield f"Rounds: {len(results.rounds)}; the machine's load before each: {loads}."


def _contenders(found: Sequence[Results]) -> str:
    abouts = {name: about for results in found for name, about in results.about.items()}
    keys = ("version", "results", "delivery", "durability")
    rows = [[name, *(about.get(key) or "" for key in keys)] for name, about in abouts.items()]
    return _markdown(["", "version", "results", "a task whose worker dies", "durability"], rows)


def _spread(values: Sequence[float], digits: int) -> str:
    shown = _number(middle(values), digits)
    low, high = _number(min(values), digits), _number(max(values), digits)
    return shown if low == high else f"{shown} ({low} to {high})"


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
