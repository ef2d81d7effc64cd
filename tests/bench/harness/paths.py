"""Where the benchmarks and the repository lie."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parents[1]
