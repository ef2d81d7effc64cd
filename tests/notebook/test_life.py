"""What ends with the kernel, and what outlives it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from omniq import Config
from omniq.notebook import children

SLEEPER = "%%omniq_task\nasync def nap(seconds):\n    await asyncio.sleep(seconds)\n    return 'rested'"
DOUBLE = "%%omniq_task\ndef double(x):\n    return 2 * x"


def start(kernel: Any, flags: str = "") -> int:
    found = re.search(r"Worker process (\d+)", kernel.run(f"%omniq start 2 {flags}").text)
    assert found
    return int(found[1])


def test_workers_end_when_the_kernel_is_killed(notebook: Any, wait_until_gone: Callable[[int], bool]) -> None:
    pid = start(notebook)
    notebook.kill()
    assert wait_until_gone(pid)


@pytest.mark.parametrize("now", [False, True], ids=["politely", "killed"])
def test_a_restart_ends_the_workers_and_loses_nothing(
    notebook: Any, wait_until_gone: Callable[[int], bool], *, now: bool
) -> None:
    pid = start(notebook)
    notebook.run(DOUBLE)
    done = notebook.run("done = await double.enqueue(21)\nassert await done == 42\nprint(done.id)").text.strip()
    notebook.run("%omniq stop")
    late = notebook.run("late = await double.enqueue(5)\nprint(late.id)").text.strip()
    pid = start(notebook, "--queues none")
    notebook.restart(now=now)
    assert wait_until_gone(pid)
    notebook.run("%load_ext omniq\nimport omniq")
    assert notebook.value("(await omniq.current().stats()).totals") == "{'pending': 1, 'succeeded': 1}"
    assert notebook.value(f"(await omniq.current().get_result({done!r})).value") == "42"
    start(notebook)
    assert notebook.value(f"await omniq.current().handle({late!r})") == "10"


def test_detached_workers_outlive_the_kernel(notebook: Any, wait_until_gone: Callable[[int], bool]) -> None:
    pid = start(notebook, "--detach")
    try:
        notebook.run(SLEEPER)
        task = notebook.run("handle = await nap.enqueue(1)\nprint(handle.id)").text.strip()
        notebook.restart(now=True)
        notebook.run("%load_ext omniq\nimport omniq")
        assert notebook.value(f"await omniq.current().handle({task!r})") == "'rested'"
        os.kill(pid, 0)
    finally:
        os.kill(pid, signal.SIGTERM)
    assert wait_until_gone(pid)


def test_views_move_while_a_cell_is_busy(notebook: Any) -> None:
    start(notebook)
    notebook.run("%%omniq_task\nasync def tick(n):\n    await asyncio.sleep(0.1)")
    notebook.run("%omniq dashboard")
    ran = notebook.run("group = await tick.map(range(40))\nwatched = group\nwatched\ntime.sleep(3)")
    counts = [
        message["data"]["content"]["patch"]["totals"]["succeeded"]
        for message in ran.comms
        if message["data"].get("method") == "custom" and "totals" in message["data"]["content"].get("patch", {})
    ]
    assert len(set(counts)) > 3
    assert counts == sorted(counts)


def test_a_command_is_carried_out_while_the_kernel_waits_for_it(notebook: Any) -> None:
    start(notebook)
    notebook.run(SLEEPER)
    notebook.run("handle = await nap.enqueue(300)\nboard = omniq.dashboard()")
    notebook.run("while str(await handle.status()) != 'running': await asyncio.sleep(0.02)")
    command = "{'type': 'command', 'id': 'c1', 'op': 'cancel', 'args': {'task_id': handle.id}}"
    said = notebook.run(
        f"board._on_message(board, {command}, None)\n"
        "import omniq.notebook.briefly as briefly\n"
        "deadline = time.monotonic() + 30\n"
        "state = None\n"
        "while state != 'cancelled' and time.monotonic() < deadline:\n"  # blocks the main loop all the time
        "    time.sleep(0.05)\n"
        "    state = briefly.with_twin(omniq.current(), lambda app: app.get_task(handle.id)).status.value\n"
        "print(state)"
    )
    assert said.text.strip() == "cancelled"
    replies = [message["data"]["content"] for message in said.comms if message["data"].get("method") == "custom"]
    assert {"type": "reply", "id": "c1", "ok": True, "result": None} in replies


class Stubborn(subprocess.Popen[bytes]):
    """A process that does not end when it is asked to."""

    waits: ClassVar[list[float | None]] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        super().__init__(command, preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))

    def wait(self, timeout: float | None = None) -> int:
        self.waits.append(timeout)
        return super().wait(timeout)


def test_workers_that_do_not_end_have_one_time_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_STOP_SECONDS", 0.5)
    monkeypatch.setattr(subprocess, "Popen", Stubborn)
    started = children.Children()
    started._all = [children.Child(Config(), children.WorkerOptions(kind="async")) for _ in range(3)]
    assert started.stop() == (3, 3)
    patient = [each for each in Stubborn.waits if each != children._KILLED_SECONDS]
    assert len(patient) == 3
    assert sum(each or 0 for each in patient) <= 0.5
