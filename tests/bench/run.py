"""Runs the benchmarks: ``python tests/bench/run.py --help``. See README.md here for what the figures mean."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from contenders import CONTENDERS
from harness.bench import Bench, absence, is_omniq
from harness.figures import Measured
from harness.paths import ROOT
from harness.report import render
from harness.results import Results, describe_machine
from scenarios import GROUPS, SCENARIOS
from scenarios.base import Scenario

TABLE = "table.md"
_QUICK = 0.1


def main() -> int:
    """Measure what was asked for, then write the report of all results in the directory; 1: OmniQ failed in one."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # else nothing would be tidied up
    options.out.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=options.out.resolve()))
    bench = Bench(
        scratch,
        scale=options.scale,
        pythons=dict(options.peer_python),
        uvloop=options.uvloop,
        against=options.against,
    )
    try:
        results = [_measure(bench, SCENARIOS[name], options.rounds, options.out) for name in options.only]
    finally:
        bench.hosts.close()
        shutil.rmtree(scratch, ignore_errors=True)
    report = _report(options.out)
    print(f"\n{report}\n{options.out / TABLE}")
    return int(any(is_omniq(name) for each in results for name in each.failed))


def _measure(bench: Bench, scenario: Scenario, rounds: int, out: Path) -> Results:
    results = Results(scenario.name, scale=bench.scale, machine=describe_machine())
    present = _present(bench, scenario, results)
    for number in range(min(rounds, scenario.most_rounds or rounds)):
        results.loads.append(os.getloadavg()[0])
        results.rounds.append({})
        for contender in present:
            began = time.monotonic()
            try:
                measured = scenario.measure(bench, contender)
            except Exception as error:  # noqa: BLE001 -- the report shows it, and the others go on
                results.failed.setdefault(contender, []).append(str(error))
                _say(scenario, number, contender, f"failed: {error}", began)
            else:
                results.rounds[-1][contender] = dict(measured)
                _say(scenario, number, contender, _shown(measured), began)
        results.save(out)
    bench.hosts.empty()
    return results


def _present(bench: Bench, scenario: Scenario, results: Results) -> list[str]:
    """The contenders that can be measured; the report says of each other one why not."""
    present: list[str] = []
    for name in scenario.contenders:
        why_not = absence(bench, name) if bench.takes_part(name) else "left out of this run"
        if why_not is None:
            results.about[name] = bench.entry(name).about
            results.server = bench.entry(name).host.about
            present.append(name)
        else:
            results.absent[name] = why_not
            print(f"{scenario.name}: {name}: {why_not}", flush=True)
    return present


def _say(scenario: Scenario, number: int, contender: str, text: str, began: float) -> None:
    took = time.monotonic() - began
    print(f"{scenario.name}, round {number + 1}: {contender}: {text} [{took:.0f} s]", flush=True)


def _shown(measured: Measured) -> str:
    return ", ".join(
        f"{key} {value:,.{0 if abs(value) >= 100 else 2}f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in measured.items()
        if value is not None
    )


def _report(out: Path) -> str:
    loaded = [(scenario, Results.load(out, scenario.name)) for scenario in SCENARIOS.values()]
    report = render([(scenario, results) for scenario, results in loaded if results is not None])
    (out / TABLE).write_text(report)
    return report


# --- options ---


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="OmniQ's benchmarks, side by side with other queues.")
    parser.add_argument("--only", type=_scenarios, default=list(SCENARIOS), metavar="A,B",
                        help=f"these scenarios, the others keep their results: {', '.join(SCENARIOS)}; "
                             f"or all those on a store: {', '.join(GROUPS)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each scenario (3)")
    parser.add_argument("--quick", dest="scale", action="store_const", const=_QUICK, default=1.0,
                        help="a tenth of the tasks and of the waiting: a trial, not a measurement")  # fmt: skip
    parser.add_argument("--scale", type=float, metavar="X", help="or another part of them")
    parser.add_argument("--against", type=_peers, metavar="A,B",
                        help="only these peers, or none; all of them unless given")  # fmt: skip
    parser.add_argument("--peer-python", type=_python, action="append", default=[], metavar="[PEER=]PATH",
                        help="interpreter that all peers are installed for, or this one; repeatable")  # fmt: skip
    parser.add_argument("--uvloop", action="store_true", help="producers run on uvloop; a notebook's don't")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", metavar="DIR", help="build/bench")
    return parser.parse_args()


def _scenarios(text: str) -> list[str]:
    chosen = _known(text, [*SCENARIOS, *GROUPS], "scenario")
    return list(dict.fromkeys(name for each in chosen for name in GROUPS.get(each, [each])))


_PEERS = [name for name in CONTENDERS if not is_omniq(name)]


def _peers(text: str) -> frozenset[str]:
    return frozenset() if text == "none" else frozenset(_known(text, _PEERS, "peer"))


def _python(text: str) -> tuple[str, str]:
    peer, _, path = text.rpartition("=")
    if os.sep in path:
        # Steps run elsewhere. A link stays one: by its place Python finds the environment.
        path = str(Path(path).absolute())
    return (_known(peer, _PEERS, "peer")[0] if peer else "", path)


def _known(text: str, names: list[str], what: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    for name in chosen:
        if name not in names:
            raise argparse.ArgumentTypeError(f"no {what} {name!r}: there are {', '.join(names)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
