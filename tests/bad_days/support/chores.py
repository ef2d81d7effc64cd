"""What the workers of these tests do. Each task notes that it began in a file that any number of processes append
to.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from pathlib import Path

import omniq


def _note(path: str, n: int) -> int:
    """Append a line; gives how many lines there were about this task before."""
    line = f"{n} {os.getpid()}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())  # one short write with O_APPEND is atomic
    finally:
        os.close(descriptor)
    return sum(each.startswith(f"{n} ") for each in Path(path).read_text().splitlines()) - 1


@omniq.task
async def step(path: str, n: int, seconds: float) -> int:
    _note(path, n)
    await asyncio.sleep(seconds)
    return n


@omniq.task
async def wait_for(path: str, n: int, signal: str) -> int:
    _note(path, n)
    while not await asyncio.to_thread(os.path.exists, signal):
        await asyncio.sleep(0.02)
    return os.getpid()


@omniq.task
def wait_in_thread(path: str, n: int, signal: str) -> int:
    _note(path, n)
    while not os.path.exists(signal):  # noqa: PTH110 -- as cheap as can be
        time.sleep(0.02)
    return os.getpid()


@omniq.task
async def block_loop(path: str, n: int, seconds: float) -> int:
    _note(path, n)
    time.sleep(seconds)
    return os.getpid()


@omniq.task
async def hold_gil_once(path: str, n: int, seconds: float) -> int:
    if _note(path, n) == 0:
        # PyDLL, unlike CDLL, keeps the GIL during the call: no other thread of this process can run.
        ctypes.PyDLL(None).usleep(round(seconds * 1e6))
    return os.getpid()


@omniq.task
async def die(path: str, n: int) -> None:
    _note(path, n)
    os._exit(9)


@omniq.task
async def leave(code: int) -> None:
    raise SystemExit(code)


@omniq.task
async def garbage(size: int) -> bytes:
    return os.urandom(size)


@omniq.task
async def nothing() -> None:
    pass
