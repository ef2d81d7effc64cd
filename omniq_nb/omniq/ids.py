"""Time-ordered ids: UUID version 7 (RFC 9562, section 5.7), as 32 hexadecimal digits.

Ids that grow with time keep B-trees compact: new rows land on the last page instead of all over the tree.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time

_is_id = re.compile("[0-9a-f]{12}7[0-9a-f]{19}").fullmatch
_lock = threading.Lock()
_last = 0
# Ids need to be unlikely to collide, not hard to guess; a system call for each would triple their price.
_random = random.Random(os.urandom(16))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(16)))

# Layout after RFC 9562, method 1 of section 6.2: 48 bits of milliseconds, then 12 + 14 bits of a counter that restarts
# in every millisecond, then 48 random bits. The counter makes ids of one process strictly increasing.
_COUNTER_BITS = 26
_RUN = 1 << 14


def new_id() -> str:
    """A new UUIDv7, greater than every id that this process made before."""
    return _id(_take(1))


def new_ids(n: int) -> list[str]:
    """So many new ids, in ascending order: one look at the clock and one lock for all of them."""
    tick = _take(n)
    if n == 1:
        return [_id(tick)]
    ids: list[str] = []
    while len(ids) < n:
        # A run of ids differs only in the counter's lower bits and in chance, which is had at one go.
        run = min(n - len(ids), _RUN - tick % _RUN)
        begin, counter = _id(tick)[:16], 0x8000 | tick % _RUN
        chance = _random.randbytes(6 * run).hex()
        ids += [f"{begin}{counter + k:x}{chance[12 * k : 12 * k + 12]}" for k in range(run)]
        tick += run
    return ids


def is_unique(task_id: str) -> bool:
    """Whether an id is one of those that are made here, each of them once."""
    return _is_id(task_id) is not None


def _take(n: int) -> int:
    """The first of so many ticks that nobody else has."""
    global _last  # noqa: PLW0603 -- one counter for the process is the point
    now = (time.time_ns() // 1_000_000) << _COUNTER_BITS
    with _lock:
        # A clock that stands still, or was set back, must not bring ids back: count on from the last one.
        first = now if now > _last else _last + 1
        _last = first + n - 1
    return first


def _id(tick: int) -> str:
    # One number in one format: two of 64 bits take half as long again.
    time_and_version = (tick >> _COUNTER_BITS) << 80 | 0x7000_8000_0000_0000_0000
    counter = (tick >> 14 & 0xFFF) << 64 | (tick & 0x3FFF) << 48
    return f"{time_and_version | counter | _random.getrandbits(48):032x}"
