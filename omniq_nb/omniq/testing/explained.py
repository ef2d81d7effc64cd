"""Import this before the topics: pytest then explains their failed asserts as it does those of a test file."""

from __future__ import annotations

import pytest

_TOPICS = (
    "batches",
    "claims",
    "delay",
    "events",
    "expiry",
    "fencing",
    "lifecycle",
    "machine",
    "order",
    "races",
    "scans",
    "waits",
)

pytest.register_assert_rewrite(*(f"{__package__}.{topic}" for topic in _TOPICS))
