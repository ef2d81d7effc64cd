"""Tasks that enqueue tasks: they travel with the functions that they refer to, and find the app that runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, subprocess, sys
import omniq

app = omniq.AsyncOmniQ(sys.argv[1])

@app.task
async def leaf(x):
    return 10 * x

@app.task
async def parent(n):
    return (await leaf.map(range(n))).ids

@app.task
async def countdown(n):
    return (await countdown.enqueue(n - 1)).id if n else "done"

@app.task
async def count():
    return sum((await app.stats()).totals.values())

async def main():
    worker = subprocess.Popen([sys.executable, "-m", "omniq", "worker", "--url", sys.argv[1], "--with-parent"])
    try:
        async with app:
            ids = await (await parent.enqueue(4)).result(60)
            print([await app.handle(each).result(60) for each in ids])
            found = await (await countdown.enqueue(2)).result(60)
            while found != "done":
                found = await app.handle(found).result(60)
            print(found, await (await count.enqueue()).result(60))
    finally:
        worker.terminate()
        worker.wait()

asyncio.run(main())
"""


def test_tasks_enqueue_other_tasks_and_themselves_in_another_process(tmp_path: Path) -> None:
    script = tmp_path / "nested.py"
    script.write_text(SCRIPT)
    url = f"sqlite:///{tmp_path / '.omniq' / 'nested.db'}"
    done = subprocess.run([sys.executable, str(script), url], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.splitlines() == ["[0, 10, 20, 30]", "done 9"], done.stderr
