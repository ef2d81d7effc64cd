"""What a type checker makes of the synchronous API."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SAMPLE = """
import omniq
from omniq import OmniQ, SQLiteQueue, TaskStatus

app = OmniQ("memory://types")

@app.task
def plain(x: int, *, y: str = "") -> float:
    return x / 2

@app.task
async def coroutine(x: int) -> bytes:
    return bytes(x)

@omniq.task
def of_no_app() -> None: ...

with app as same, app.workers(concurrency=2) as pool:
    reveal_type(same)  # OmniQ
    reveal_type(plain.enqueue(1, y="a"))  # SyncTaskHandle[float]
    reveal_type(plain.enqueue(1).result())  # float
    reveal_type(coroutine.enqueue(1).result(timeout=3))  # bytes
    reveal_type(coroutine.options(priority=3).enqueue(1).status())  # TaskStatus
    group = plain.map([1, 2])
    reveal_type(group)  # SyncGroupHandle[float]
    reveal_type(group.results())  # list[float]
    reveal_type(group[0])  # SyncTaskHandle[float]
    reveal_type(group[:1])  # SyncGroupHandle[float]
    reveal_type([handle.result() for handle in group.as_completed()])  # list[float]
    reveal_type(group[0].app)  # OmniQ
    reveal_type([event.event_type for event in app.stream_events()])  # list[str]
    reveal_type(app.events())  # DataFrame
    reveal_type(app.enqueue(of_no_app))  # SyncTaskHandle[Any]
    reveal_type(app.group([plain.enqueue(1)]))  # SyncGroupHandle[float]
    reveal_type(OmniQ.from_config({}))  # OmniQ
    reveal_type(pool)  # SyncWorkerPool
    reveal_type(pool.drain)  # def (*, delayed: bool =)

with SQLiteQueue("store.db") as queue:
    reveal_type(queue)  # SQLiteQueue
    reveal_type(queue.get("1").status)  # TaskStatus

plain.enqueue("a")  # error: arg-type
plain.enqueue(1, z=1)  # error: call-arg
plain.options(prority=1)  # error: call-arg
app.list_tasks(limit="a")  # error: arg-type
await_it: int = plain.enqueue(1)  # error: assignment
"""


def test_types(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE)
    # In the project's folder and with its settings, all of which are strict: so it takes from `make types`' cache what
    # was found there already, and leaves it as it was.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", str(sample)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    said: dict[int, str] = {}
    for number, text in re.findall(r"sample\.py:(\d+): (?:note: Revealed type is (?=.)|(?=error: ))(.*)", done.stdout):
        said[int(number)] = said.get(int(number), "") + text
    expected = {
        number: line.split("  # ")[1] for number, line in enumerate(SAMPLE.split("\n"), start=1) if "  # " in line
    }
    assert said.keys() == expected.keys(), done.stdout + done.stderr
    for number, text in expected.items():
        assert _matches(said[number], text), f"line {number}: {said[number]!r}, not {text!r}"


def _matches(said: str, expected: str) -> bool:
    if expected.startswith("error: "):
        return said.startswith("error: ") and said.endswith(f"[{expected.removeprefix('error: ')}]")
    plain = re.sub(r"\b(?:\w+\.)+(?=\w)", "", said).strip('"')
    return plain == expected
