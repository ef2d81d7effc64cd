"""In a real kernel: cells see a running event loop, and the user interrupts them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

SECONDS = 100


class Kernel:
    """A kernel of this very environment."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def start(self, code: str) -> str:
        """Send a cell; gives the id by which its messages are known."""
        return str(self.client.execute(code))

    def wait_for_text(self, cell: str, text: str) -> None:
        """Wait until the cell has printed this."""
        while text not in self._next(cell).get("text", ""):
            pass

    def end(self, cell: str) -> tuple[str, str]:
        """What the cell printed from now on, and the name of the error that it ended with."""
        printed, error = "", ""
        while (content := self._next(cell)).get("execution_state") != "idle":
            printed += content.get("text", "")
            error = content.get("ename", error)
        return printed, error

    def run(self, code: str) -> tuple[str, str]:
        return self.end(self.start(code))

    def _next(self, cell: str) -> dict[str, Any]:
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=SECONDS)
            except Empty:
                pytest.fail("the kernel says nothing")
            if message["parent_header"].get("msg_id") == cell:
                content: dict[str, Any] = message["content"]
                return content


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    manager = KernelManager()
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager._kernel_spec = KernelSpec(argv=command, display_name="test", language="python")
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def test_in_cells(kernel: Kernel) -> None:
    printed, error = kernel.run("""
from omniq import OmniQ
app = OmniQ()

@app.task
def double(x):
    return 2 * x

@app.task
async def later(x):
    import asyncio
    await asyncio.sleep(0)
    return x

pool = app.workers().start()
print(double.enqueue(21).result(), later.map([1, 2]).results())
""")
    assert (printed, error) == ("42 [1, 2]\n", "")
    # A cell that awaits runs as a coroutine on the kernel's loop; the blocking call has another loop to rely on.
    printed, error = kernel.run("""
import asyncio
await asyncio.sleep(0)
print([handle.result() for handle in double.map([1]).as_completed()], app.stats().totals)
""")
    assert (printed, error) == ("[2] {'succeeded': 4}\n", "")


def test_an_app_of_the_kernels_own_loop_is_not_waited_for(kernel: Kernel) -> None:
    printed, error = kernel.run("""
import asyncio
from omniq import AsyncOmniQ, DeadlockError, OmniQ
app = AsyncOmniQ("memory://kernel")
await app.open()
try:
    OmniQ.over(app).stats()
except DeadlockError as refusal:
    print("refused:", "await" in str(refusal))
print((await asyncio.to_thread(OmniQ.over(app).stats)).queues)
""")
    assert (printed, error) == ("refused: True\n{}\n", "")


def test_an_interrupt_ends_a_cell_that_waits_and_nothing_else(kernel: Kernel) -> None:
    kernel.run("""
from omniq import OmniQ
app = OmniQ("memory://interrupted")

@app.task
def work(x):
    return x

handle = work.enqueue(5)
""")
    cell = kernel.start("print('waiting', flush=True); handle.result()")
    kernel.wait_for_text(cell, "waiting")
    kernel.manager.interrupt_kernel()
    assert kernel.end(cell) == ("", "KeyboardInterrupt")
    printed, error = kernel.run("""
with app.workers():
    print(handle.result(), app.stats().totals)
""")
    assert (printed, error) == ("5 {'succeeded': 1}\n", "")
