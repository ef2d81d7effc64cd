"""The pool: so many at a time, the most urgent first, and an orderly end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest
from omniq import AsyncOmniQ, OptionError, TaskStatus, WorkerPool, WorkerType
from omniq.errors import NotOpenError

from ..conftest import MakeApp, Until  # type: ignore[import-not-found]
