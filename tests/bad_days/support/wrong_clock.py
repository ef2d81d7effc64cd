"""Imported by a worker whose machine may have the wrong time."""

from __future__ import annotations

import os
import time

_true_time = time.time_ns
_off = round(float(os.environ["CLOCK_IS_OFF_BY"]) * 1e9)
time.time_ns = lambda: _true_time() + _off
time.time = lambda: time.time_ns() / 1e9
