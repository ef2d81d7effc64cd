"""Reads what the views show: counts rather than records, one page of tasks, the end of the log. Never everything."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection
from typing import Any

import msgspec

from ..clock import SECOND
from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import EventFilter, Filter, Record
from ..models.result import RESULT, decode_result, result_key
from ..models.task import TASK, TaskStatus, decode_spec
from ..parts import Parts
from . import model
from .model import Json
from .pager import PAGE, Pager
from .throughput import STEPS, Throughput

EVENTS_KEPT = 200
_LOG_STEP = 1000
_SCANS = 20
"""So many steps one page may take to find what a filter lets through."""
_OWNERS_COUNTED = 200
_REPLAYED = 20_000
_KNOWN_RUNS = 2000
_LONGEST_TEXT = 4000
_EVENTS_OF_TASK = 100


class Source:
    """One publisher's view of a store.

    Args:
        parts: The open store, on the running loop.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._throughput = Throughput()
        self._replayed = False
        self._events: deque[TaskEvent] = deque(maxlen=EVENTS_KEPT)
        self._position: int | None = None
        self._runs: dict[tuple[str, int], tuple[int, int] | None] = {}

    async def read(self, keys: Collection[str]) -> Json:
        """The parts of the model that all views share."""
        if not keys:
            return {}
        groups = await self.parts.queue.driver.count(TASK)
        totals = model.totals(groups)
        found: Json = {"totals": totals}
        if "queues" in keys:
            found["queues"] = model.queue_rows(groups, await self.parts.queue.paused())
        if "throughput" in keys:
            found["throughput"] = await self._read_throughput(totals)
        if "workers" in keys:
            found["workers"] = await self._workers(totals[TaskStatus.RUNNING])
        if "events" in keys:
            found["events"] = [model.event_row(event) for event in await self._read_events()]
        if "schedules" in keys:
            found["schedules"] = [model.schedule_row(each) for each in await self.parts.schedules.list_schedules()]
        return found

    # --- throughput ---

    async def _read_throughput(self, totals: dict[str, int]) -> Json:
        now = time.time()
        if not self._replayed:
            self._replayed = True
            self._throughput.replay(await self._ended_since(int(now) - STEPS))
        self._throughput.count(totals, now)
        return self._throughput.series(now)

    async def _ended_since(self, second: int) -> list[tuple[int, str]]:
        match = EventFilter(types=("task.succeeded", "task.dead"), since=second * SECOND, limit=_REPLAYED)
        columns = await self.parts.events.driver.query(match)
        return list(zip(columns["ts"], columns["event_type"], strict=True))

    # --- workers ---

    async def _workers(self, running: int) -> list[Json]:
        workers = await self.parts.workers.list_workers()
        if not workers or running > _OWNERS_COUNTED:
            return [model.worker_row(info) for info in workers]
        # A worker reports itself every few seconds; its tasks say at once what it does.
        owned: dict[str, int] = {}
        if running:
            match = Filter(kind=TASK, state=TaskStatus.RUNNING.value)
            for record in (await self.parts.queue.driver.scan(match, limit=_OWNERS_COUNTED)).records:
                owned[record.owner or ""] = owned.get(record.owner or "", 0) + 1
        return [model.worker_row(info, owned.get(info.id, 0)) for info in workers]

    # --- tasks ---

    async def page(self, pager: Pager) -> Json:
        """The page of tasks that a view stands at."""
        records: list[Record] = []
        cursor, match = pager.cursor, pager.match
        for _ in range(_SCANS):
            page = await self.parts.queue.driver.scan(
                match, cursor=cursor, limit=PAGE if pager.func else PAGE - len(records)
            )
            records += [each for each in page.records if pager.func in (None, decode_spec(each.body).func)]
            cursor = page.cursor
            if cursor is None or len(records) >= PAGE:
                break
        pager.goes_on_at(cursor)
        return pager.describe(await self.rows(records))

    async def rows(self, records: list[Record]) -> list[Json]:
        """Tasks as the page lists them, with the times of their last attempts."""
        runs = await self._find_runs([each for each in records if each.state in ("succeeded", "failed")])
        return [model.task_row(record, runs.get(record.key)) for record in records]

    async def _find_runs(self, records: list[Record]) -> dict[str, tuple[int, int] | None]:
        unknown = [each for each in records if (each.key, each.claims) not in self._runs]
        if len(self._runs) > _KNOWN_RUNS:
            self._runs.clear()
            unknown = records
        keys = [(RESULT, result_key(each.key, each.claims)) for each in unknown]
        for each, found in zip(unknown, await self.parts.results.driver.get(keys) if keys else (), strict=True):
            body = None if found is None else decode_result(found.body)
            self._runs[each.key, each.claims] = None if body is None else (body.started_at, body.finished_at)
        return {each.key: self._runs[each.key, each.claims] for each in records}

    # --- events ---

    async def _read_events(self) -> list[TaskEvent]:
        driver = self.parts.events.driver
        if self._position is None:
            self._events.clear()
            _, end = await driver.read_log(None)
            # Positions mostly count events; where they don't, the list begins shorter, or empty.
            self._position = max(0, end - EVENTS_KEPT)
        events, self._position = await driver.read_log(self._position, _LOG_STEP)
        self._events.extend(events)
        if len(events) == _LOG_STEP:
            # More than anybody could read: go on at the end.
            self._position = None
        return list(self._events)

    # --- one task ---

    async def detail(self, task_id: str) -> Json:
        """All that there is to say about one task.

        Raises:
            TaskNotFoundError: There is none with this id.
        """
        task = await self.parts.queue.get(task_id)
        (record,) = await self.parts.queue.driver.get([(TASK, task_id)])
        assert record is not None  # it was there just now; a purge in between shows at the next question
        spec = decode_spec(record.body)
        (row,) = await self.rows([record])
        (found,) = await self.parts.results.driver.get([(RESULT, result_key(task_id, record.claims))])
        body = None if found is None or not task.status.is_final else decode_result(found.body)
        return {
            "row": row,
            "args": self._arguments(spec.payload),
            "result": None if body is None or body.value is None else self._value(body.value),
            "error": spec.error,
            "traceback": body.error.traceback if body is not None and body.error is not None else None,
            "events": await self._events_of(record),
            "metadata": msgspec.to_builtins(spec.metadata, str_keys=True),
        }

    def _arguments(self, payload: bytes) -> str:
        try:
            arguments: Any = self.parts.serializer.loads(payload, "the arguments")
            args, kwargs = arguments
            return _shortened(", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]))
        except Exception as error:  # noqa: BLE001 -- a value's own class decides how it is read and shown
            return f"<can't be shown here: {error}>"

    def _value(self, data: bytes) -> str:
        try:
            return _shortened(repr(self.parts.serializer.loads(data, "the result")))
        except Exception as error:  # noqa: BLE001 -- a value's own class decides how it is read and shown
            return f"<can't be shown here: {error}>"

    async def _events_of(self, record: Record) -> list[Json]:
        match = EventFilter(task_id=record.key, since=record.created_at, limit=_EVENTS_OF_TASK)
        columns = await self.parts.events.driver.query(match)
        rows = zip(*(columns[name] for name in EVENT_FIELDS), strict=True)
        return [model.event_row(TaskEvent(*row)) for row in rows]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"
