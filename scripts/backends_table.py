"""Writes the README's table of backends from what the drivers declare of themselves.

backends_table.py            writes it
backends_table.py --check    writes nothing; fails where the README says something else
"""

from __future__ import annotations

import sys
from pathlib import Path

from omniq.backends.registry import BACKENDS, driver_class
from omniq.storage.driver import Driver

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- backends: written by scripts/backends_table.py -->", "<!-- end of backends -->"
COLUMNS = ("backend", "URL", "install", "start it", "can do", "choose it for")


def drivers() -> list[type[Driver]]:
    """The drivers that come with OmniQ, each once."""
    return list(dict.fromkeys(driver_class(f"{scheme}://") for scheme in BACKENDS))


def can_do(driver: type[Driver]) -> str:
    """A driver's capabilities in words."""
    can = driver.capabilities
    words = {
        "many processes": can.shared,
        "outlives the process": can.durable,
        "pushes": can.pushes,
        "hands tasks over": can.hands_over,
        "batches are transactions": can.atomic_batches,
        "its own clock": can.own_clock,
        "joins your transaction": can.joins_transactions,
    }
    return ", ".join(word for word, able in words.items() if able) or "-"


def table() -> str:
    """The table, in Markdown."""
    rows = [COLUMNS, ("---",) * len(COLUMNS)]
    for driver in drivers():
        about = driver.about
        install = f"`omniq-nb[{about.extra}]`" if about.extra else "-"
        rows.append((about.title, f"`{about.url}`", install, about.start, can_do(driver), about.choose))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if "--check" in sys.argv:
        if wanted != text:
            print("the README's table of backends is not what the drivers say: run `make sync`", file=sys.stderr)
        return int(wanted != text)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
