"""Runs an example notebook from top to bottom without a browser, and says what happened.

Writes the executed notebook and a page of it to build/, also when a cell fails: then they show where.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from traitlets.config import Config

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
CELL_TIMEOUT = 300
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("notebook", type=Path)
    path = parser.parse_args().notebook
    if not path.is_file():
        print(f"there is no notebook {path}", file=sys.stderr)
        return 1

    notebook = nbformat.read(path, as_version=4)
    store = fresh_folder(BUILD / "demo")
    print(f"Running {shown(path)} in {shown(store)}", flush=True)
    started = time.perf_counter()
    failure = execute(notebook, store)
    seconds = time.perf_counter() - started
    written = write(notebook, path.stem)

    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    done = sum(finished(cell) for cell in notebook.cells)
    print(f"\nRan {done} of {cells} cells in {seconds:.1f} s. What the store holds now:\n", flush=True)
    listed = subprocess.run(["omniq", "status"], cwd=store, check=False)
    print("\nThe executed notebook, and the same as a page:", *(f"  {shown(output)}" for output in written), sep="\n")
    if failure:
        print(f"\nThe notebook stopped: {failure}", file=sys.stderr)
    return 1 if failure else listed.returncode


def execute(notebook: NotebookNode, folder: Path) -> str | None:
    """Run all cells with `folder` as the working directory; the reason when one of them failed."""
    watch = Watch(len(notebook.cells))
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        # Where the kernel can: without it the kernel warns in the middle of what the demo prints.
        config=Config({"KernelManager": {"transport_encryption": "auto"}}),
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=watch.cell_starts,
        on_cell_executed=watch.cell_ends,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    except CellTimeoutError:
        return f"a cell took longer than {CELL_TIMEOUT} s"
    except DeadKernelError:
        return "the kernel died"
    return None


class Watch:
    """Prints one line for each cell: its place, its time, its first line of code."""

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.started = 0.0

    def cell_starts(self, **_: Any) -> None:
        self.started = time.perf_counter()

    def cell_ends(self, *, cell: NotebookNode, cell_index: int, **_: Any) -> None:
        seconds = time.perf_counter() - self.started
        print(f"  [{cell_index + 1:>2}/{self.cells}] {seconds:6.2f} s  {first_line(cell.source)}", flush=True)


def first_line(source: str) -> str:
    lines = (line for line in source.splitlines() if line.strip() and not line.startswith("#"))
    return next(lines, "")[:90]


def finished(cell: NotebookNode) -> bool:
    return (
        cell.cell_type == "code"
        and cell.execution_count is not None
        and not any(output.output_type == "error" for output in cell.outputs)
    )


def write(notebook: NotebookNode, name: str) -> tuple[Path, Path]:
    executed, page = BUILD / f"{name}.executed.ipynb", BUILD / f"{name}.html"
    nbformat.write(notebook, executed)
    body, _ = HTMLExporter().from_notebook_node(without_widgets(notebook), {"metadata": {"name": name}})
    page.write_text(body, encoding="utf-8")
    return executed, page


def without_widgets(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the pictures that its widgets left: a page has no kernel, and should need no network."""
    copy = deepcopy(notebook)
    copy.metadata.pop("widgets", None)
    for cell in copy.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET_VIEW, None)
    return copy


def fresh_folder(folder: Path) -> Path:
    """An empty folder, so that the store the notebook makes there holds this run alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def shown(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    sys.exit(main())
