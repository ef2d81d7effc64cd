"""What ``import`` takes, beyond Python's own start, and what it brings along."""

from __future__ import annotations

import importlib.util
import statistics

from harness.bench import Bench, is_omniq
from harness.figures import Comparison, Figure, Measured
from harness.processes import run_step

from .base import Scenario

IMPORTS = {
    "omniq": "omniq",
    "huey": "huey",
    "litequeue": "litequeue",
    "persist-queue": "persistqueue",
    "flexiq": "flexiq",
    "dask": "distributed",
    "ipyparallel": "ipyparallel",
}
HEAVY = ("polars", "pandas", "numpy", "pyarrow", "ipywidgets", "anywidget", "IPython", "fsspec", "aiosqlite")
CLIENTS = ("redis", "asyncpg", "nats", "s3fs", "adlfs", "gcsfs", "boto3", "gevent")
_REPEATS = 3
_PROGRAM = """
import sys, time
began = time.perf_counter()
import {module}
took = time.perf_counter() - began
{use}
used = time.perf_counter() - began
from harness import answer
loaded = [each for each in {heavy!r} if each in sys.modules]
answer.give({{"took": took * 1000, "used": used * 1000, "loaded": loaded, "modules": len(sys.modules)}})
"""


class Imports(Scenario):
    name = "import"
    title = "Import, in ms within a process that has started"
    contenders = tuple(IMPORTS)
    figures = (
        Figure("took", "import, ms", 1),
        Figure("used", "and its main class, which loads when it is first named, ms", 1),
        Figure("modules", "modules loaded in all"),
        Figure("loaded", "heavy ones among them"),
        Figure("absent", "not among them, though installed"),
    )
    comparisons = (
        Comparison("`import omniq`, ms", ("omniq", "took"), goal="under 150", less_is_better=True, digits=1),
    )

    def measure(self, bench: Bench, contender: str) -> Measured:
        heavy = (*HEAVY, *CLIENTS)
        use = "omniq.AsyncOmniQ" if is_omniq(contender) else ""
        program = _PROGRAM.format(module=IMPORTS[contender], use=use, heavy=heavy)
        python = bench.python(contender)
        command = [python, "-c", program]
        # The first one may have to compile.
        answers = [run_step(command, bench.environment(), bench.scratch) for _ in range(1 + _REPEATS)][1:]
        loaded = answers[0]["loaded"]
        figures: dict[str, float | str] = {
            "took": statistics.median(each["took"] for each in answers),
            "modules": answers[0]["modules"],
            "loaded": ", ".join(loaded) or "none",
        }
        if is_omniq(contender):
            figures["used"] = statistics.median(each["used"] for each in answers)
            figures["absent"] = ", ".join(
                each for each in heavy if importlib.util.find_spec(each) and each not in loaded
            )
        return figures
