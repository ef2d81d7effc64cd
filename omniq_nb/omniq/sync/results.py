# Generated from omniq/storage/results.py by scripts/generate_sync.py: change that, and run `make sync`.

"""`omniq.storage.results` without ``await``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ..models.record import Record
from ..storage.driver import Driver
from ..storage.results import BaseResultStorage, StoredOutcome
from .component import SyncComponent


class SyncResultStorage(SyncComponent):
    """Reads results. A result counts only if its task's record names the attempt that it belongs to.

    Args:
        store: The results' driver, URL or path.
        tasks: The tasks' driver; the results' unless given.
        **options: For a driver made from a URL.
    """

    _async: BaseResultStorage
    _async_class: ClassVar[type[BaseResultStorage]] = BaseResultStorage

    def __init__(self, store: Driver | str | Path, *, tasks: Driver | None = None, **options: Any) -> None:
        self._adopt(self._async_class(store, tasks=tasks, **options))

    def outcomes(self, task_ids: Sequence[str]) -> list[StoredOutcome | Record | None]:
        """What each task has come to: its outcome, its record while it goes on, ``None`` if there is no such task.

        One that is being deleted is none any more: its result may be gone already.
        """
        return self._run(self._async.outcomes(task_ids))
