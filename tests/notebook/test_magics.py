"""``%omniq`` and ``%%omniq_task`` in a real kernel."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil

from .conftest import PATIENCE

STATE = """
def state():
    import threading, psutil
    shell = get_ipython()
    return {
        "lines": sorted(shell.magics_manager.magics["line"]),
        "cells": sorted(shell.magics_manager.magics["cell"]),
        # IPython loads this one for %load_ext.
        "registry": sorted(set(shell.magics_manager.registry) - {"ExtensionMagics"}),
        "transformers": len(shell.input_transformers_cleanup),
        "completers": sorted(shell.strdispatchers["complete_command"].strs),
        "threads": sorted(t.name for t in threading.enumerate() if t.name.startswith("omniq")),
        "children": len(psutil.Process().children()),
        "names": sorted(name for name in shell.user_ns if not name.startswith("_")),
    }
"""


def worker_pid(text: str) -> int:
    found = re.search(r"Worker process (\d+)", text)
    assert found, text
    return int(found[1])


def test_unloading_undoes_everything(kernel: Any) -> None:
    kernel.run(STATE + "\nimport omniq, asyncio, ipywidgets, anywidget")
    kernel.run("before = None; after = None; handle = None")
    before = kernel.value("state()")
    kernel.run("%load_ext omniq")
    assert kernel.value("state()") != before
    kernel.run("%omniq start 1")
    kernel.run("%%omniq_task\ndef double(x):\n    return 2 * x")
    kernel.run("handle = await double.enqueue(21)\nassert await handle == 42\nhandle")
    kernel.run("%omniq dashboard")
    kernel.run("%omniq start 1 --in-kernel")
    kernel.run("handle = None\n%unload_ext omniq")
    deadline = time.monotonic() + PATIENCE
    while kernel.value("state()") != before and time.monotonic() < deadline:
        time.sleep(0.05)  # the app closes on the kernel's loop, once that has a turn
    assert kernel.value("state()") == before
    assert "no current app" in kernel.run("omniq.current()", fails=True).text


def test_loading_again_works(notebook: Any) -> None:
    notebook.run("%reload_ext omniq")
    notebook.run("%omniq start 1")
    notebook.run("%%omniq_task\ndef double(x):\n    return 2 * x")
    assert notebook.value("await (await double.enqueue(21))") == "42"
    notebook.run("%reload_ext omniq")
    assert "double" not in notebook.value("dir()")
    assert "succeeded" in notebook.run("%omniq status").text


def test_loading_opens_nothing(notebook: Any) -> None:
    assert not (notebook.folder / ".omniq").exists()
    assert notebook.value("omniq.current().is_open") == "False"


def test_a_worker_starts_beside_the_kernel_and_stops(notebook: Any, wait_until_gone: Callable[[int], bool]) -> None:
    pid = worker_pid(notebook.run("%omniq start 2 --queues high,default").text)
    process = psutil.Process(pid)
    assert process.ppid() == notebook.pid
    assert "high, default" in notebook.run("%omniq workers").text
    assert "Stopped 1 worker process." in notebook.run("%omniq stop").text
    assert wait_until_gone(pid)
    assert "No workers were started here." in notebook.run("%omniq stop").text


def test_a_worker_that_fell_is_told(notebook: Any, wait_until_gone: Callable[[int], bool]) -> None:
    pid = worker_pid(notebook.run("%omniq start 1").text)
    os.kill(pid, signal.SIGKILL)
    assert wait_until_gone(pid)
    said = notebook.run("%omniq workers").text
    assert f"Worker process {pid} has ended by itself" in said
    assert "has ended" not in notebook.run("%omniq workers").text


def test_neither_store_nor_secret_is_on_the_command_line(notebook: Any) -> None:
    notebook.run("import os\nos.environ['OMNIQ_SECRET'] = 'a secret of sixteen or more'")
    notebook.run(f"%omniq use sqlite:///{notebook.folder}/hidden.db")
    pid = worker_pid(notebook.run("%omniq start 1").text)
    line = " ".join(psutil.Process(pid).cmdline())
    assert "secret" not in line
    assert "hidden" not in line
    environment = psutil.Process(pid).environ()
    assert environment["OMNIQ_SECRET"] == "a secret of sixteen or more"
    assert environment["OMNIQ_URL"].endswith("hidden.db")


def test_a_worker_that_can_not_start_says_why_in_one_line(notebook: Any) -> None:
    said = notebook.run("%omniq start --import no_such_module", fails=True).text
    assert said.startswith("UsageError: omniq: the worker did not start: there is no module 'no_such_module'")
    assert len(said.strip().splitlines()) == 1
    assert "No workers" in notebook.run("%omniq stop").text


def test_a_store_that_no_other_process_sees_is_refused(notebook: Any) -> None:
    notebook.run("%omniq use memory://apart")
    assert "--in-kernel" in notebook.run("%omniq start", fails=True).text


def test_workers_in_the_kernel_share_its_objects(notebook: Any) -> None:
    notebook.run("%omniq use memory://inside\nseen = []")
    notebook.run("%%omniq_task\nasync def note(x):\n    seen.append(x)\n    return len(seen)")
    notebook.run("%omniq start 2 --in-kernel")
    assert notebook.value("await (await note.enqueue('here'))") == "1"
    assert notebook.value("seen") == "['here']"
    assert "the workers in this kernel" in notebook.run("%omniq stop").text


def test_wrong_words_are_refused_in_one_line(notebook: Any) -> None:
    for code, expected in [
        ("%omniq stat", "no subcommand 'stat': the subcommands are status, start"),
        ("%omniq start four", "invalid int value: 'four'"),
        ("%omniq start 0", "concurrency must be"),
        ("%omniq use nowhere://x", "no backend for 'nowhere://x'"),
        ("%omniq events --limit 0", "limit must be at least 1"),
        ("%%omniq_task --retries 3\ndef f(): pass", "unrecognized arguments: --retries 3"),
        ("%%omniq_task --priority high\ndef f(): pass", "argument --priority"),
        ("%%omniq_task\n\n", "the cell is empty"),
    ]:
        said = notebook.run(code, fails=True).text
        assert expected in said, said
        assert "Traceback" not in said


def test_help_explains_every_subcommand(notebook: Any) -> None:
    overview = notebook.run("%omniq").text
    for name in ("status", "start", "stop", "use", "dashboard", "events", "workers", "help"):
        assert name in overview
        assert f"usage: %omniq {name}" in notebook.run(f"%omniq {name}?").text
    assert notebook.client.inspect("%omniq")
    assert "--detach" in notebook.run("%omniq help start").text


def complete(kernel: Any, line: str) -> list[str]:
    reply = kernel.client.complete(line, reply=True, timeout=60)
    return list(reply["content"]["matches"])


def test_tab_completes_subcommands_and_flags(notebook: Any) -> None:
    assert {"status", "start", "stop"} <= set(complete(notebook, "%omniq "))
    assert complete(notebook, "%omniq da") == ["dashboard"]
    assert "--in-kernel" in complete(notebook, "%omniq start 4 --")
    assert complete(notebook, "%omniq start --type thr") == ["thread"]
    assert "--max-retries" in complete(notebook, "%%omniq_task --name x --m")


def test_a_function_keeps_its_source_and_its_lines(notebook: Any) -> None:
    notebook.run("%omniq start 1\nimport inspect")
    said = notebook.run(
        "%%omniq_task name=flawed --max-retries 0 --queue odd\n# a comment\nimport math\n\n"
        "def divide(x):\n    return math.floor(1 / x)"
    ).text
    assert "'flawed' is a task now: await divide.enqueue(x)" in said
    assert notebook.value("inspect.getsource(divide.func)") == repr("def divide(x):\n    return math.floor(1 / x)\n")
    assert notebook.value("divide(2), divide.name") == "(0, 'flawed')"
    said = notebook.run("await (await divide.enqueue(0))", fails=True).text
    assert "line 6, in divide" in said
    assert "return math.floor(1 / x)" in said
    assert "ZeroDivisionError" in said


def test_a_cell_runs_in_the_background_with_the_values_it_uses(notebook: Any) -> None:
    notebook.run("%omniq start 1\nbase, factor = 10, 3")
    cell = "%%omniq_task --name report\nbase = base + 1\nawait asyncio.sleep(0)\n[base * factor, len(__name__) > 0]"
    shown = notebook.run(cell).shown
    assert "text/html" in shown[0]
    notebook.run("factor = 1000")
    assert notebook.value("await report") == "[33, True]"
    assert notebook.value("base") == "10"
    assert notebook.run("%%omniq_task\nimport math\nmath.pi").status == "ok"
    assert notebook.run("await _").text.startswith("3.14")


def test_a_failing_cell_names_its_line_and_is_not_tried_again(notebook: Any) -> None:
    notebook.run("%omniq start 1\ntext = 'not a number'")
    notebook.run("%%omniq_task --name parsed\nlength = len(text)\n\nint(text)")
    said = notebook.run("await parsed", fails=True).text
    assert "line 4, in parsed" in said
    assert "int(text)" in said
    assert notebook.value("(await parsed.task()).attempt") == "1"


def test_what_can_not_be_sent_is_refused_at_once_and_by_name(notebook: Any) -> None:
    notebook.run("import threading\nlock = threading.Lock()\ncount = threading.Lock()")
    said = notebook.run("%%omniq_task\nwith lock:\n    x = 1", fails=True).text
    assert "'lock'" in said
    assert "can't be sent to a worker" in said
    said = notebook.run("%%omniq_task\ncount = [count]\ncount", fails=True).text
    assert "count" in said
    assert "can't be sent to a worker" in said
    assert notebook.value("(await omniq.current().stats()).totals") == "{}"


def test_awaiting_outside_of_a_function_is_refused(notebook: Any) -> None:
    cell = "%%omniq_task\nawait asyncio.sleep(0)\ndef f():\n    return 1"
    assert "awaits outside of the function" in notebook.run(cell, fails=True).text
    assert "f" not in notebook.value("dir()").split("'")
    said = notebook.run("%%omniq_task\nfrom math import *\npi", fails=True).text
    assert "import *" in said


def test_an_interrupt_stops_the_cell_and_not_the_workers(notebook: Any) -> None:
    pid = worker_pid(notebook.run("%omniq start 1").text)
    notebook.run("%%omniq_task\nasync def nap(seconds):\n    await asyncio.sleep(seconds)\n    return 'rested'")
    notebook.run("handle = await nap.enqueue(2)")
    sent = notebook.client.execute("print('busy', flush=True)\ntime.sleep(60)")
    while notebook.client.get_iopub_msg(timeout=60)["content"].get("text") != "busy\n":
        pass
    os.killpg(os.getpgid(notebook.pid), signal.SIGINT)  # as a server does it: the whole group
    while (reply := notebook.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != sent:
        pass
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    while (said := notebook.client.get_iopub_msg(timeout=60))["content"].get("execution_state") != "idle":
        pass
    assert said["parent_header"].get("msg_id") == sent
    assert notebook.value("await handle") == "'rested'"
    assert psutil.pid_exists(pid)


def test_another_store_can_be_used(notebook: Any) -> None:
    notebook.run("%omniq start 1")
    notebook.run("%%omniq_task\ndef double(x):\n    return 2 * x")
    notebook.run("await (await double.enqueue(1))")
    said = notebook.run("%omniq use sqlite:///other.db").text
    assert "sqlite:///other.db now" in said
    assert "No workers" in notebook.run("%omniq stop").text
    notebook.run("%omniq start 1")
    assert notebook.value("await (await double.enqueue(4))") == "8"
    assert notebook.value("(await omniq.current().stats()).totals") == "{'succeeded': 1}"


def test_the_store_stays_when_the_directory_changes(notebook: Any) -> None:
    notebook.run("%%omniq_task\ndef double(x):\n    return 2 * x")
    notebook.run("handle = await double.enqueue(3)")
    (notebook.folder / "elsewhere").mkdir()
    notebook.run("%cd -q elsewhere")
    notebook.run("%omniq start 1")
    assert notebook.value("await handle") == "6"
    assert "1 succeeded" in notebook.run("%omniq status").text
    assert not (notebook.folder / "elsewhere" / ".omniq").exists()


def test_events_come_as_a_frame(notebook: Any) -> None:
    notebook.run("%omniq start 1")
    notebook.run("%%omniq_task\ndef double(x):\n    return 2 * x")
    notebook.run("await (await double.map(range(5)))")
    shown = notebook.run("%omniq events --type task.succeeded --limit 3").text
    assert "shape: (3, 10)" in shown
