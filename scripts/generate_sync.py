"""Writes the synchronous classes, omniq_nb/omniq/sync/, from the asynchronous ones.

generate_sync.py            writes them
generate_sync.py --check    writes nothing; fails where what is there differs from what would be written

The sources are read, not imported. Each public method gets a twin with the same name, parameters, defaults, types and
docstring that hands the call to the asynchronous object; there is no logic in what is generated.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.sync_generator.modules import generate  # noqa: E402 -- run as a file, it has to say where its package lies
from scripts.sync_generator.table import COMMAND, GeneratorError  # noqa: E402 -- see above


def drift(modules: dict[Path, str]) -> Iterator[str]:
    """What differs from what is there, as unified diffs."""
    for path, text in modules.items():
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        name = str(path.relative_to(ROOT))
        difference = difflib.unified_diff(
            there.splitlines(), text.splitlines(), name, f"{name}, generated", lineterm=""
        )
        yield from difference


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where something would change")
    check = parser.parse_args().check
    try:
        modules = generate()
    except GeneratorError as error:
        print(f"generate_sync: {error}", file=sys.stderr)
        return 2
    if not check:
        for path, text in modules.items():
            path.write_text(text, encoding="utf-8")
        return 0
    differences = list(drift(modules))
    if differences:
        print(*differences, sep="\n")
        print(
            f"\nThe synchronous classes are not those that the asynchronous ones give: run `{COMMAND}`.",
            file=sys.stderr,
        )
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
