"""Runs notebooks and saves them with their outputs, so that they can be read where nothing runs.

Each runs in an empty folder of its own. Live views are left out: without a kernel, the pictures say more.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
SITE = sysconfig.get_path("purelib")
CELL_TIMEOUT = 300
LIVE = "application/vnd.jupyter.widget-view+json"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("notebooks", type=Path, nargs="+")
    for path in parser.parse_args().notebooks:
        notebook = nbformat.read(path, as_version=4)
        try:
            run(notebook)
        except CellExecutionError as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 1
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{path}: saved")
    return 0


def run(notebook: NotebookNode) -> None:
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=CELL_TIMEOUT, resources=resources, store_widget_state=False).execute()


def tidy(notebook: NotebookNode) -> None:
    """Leave out what is of this machine and this run alone: live views, paths, times."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(LIVE, None)
            for holder in (output, output.get("data", {})):
                for kind, text in holder.items():
                    if isinstance(text, str):
                        holder[kind] = text.replace(f"{SITE}/", "").replace(f"{ROOT}/", "")


if __name__ == "__main__":
    sys.exit(main())
