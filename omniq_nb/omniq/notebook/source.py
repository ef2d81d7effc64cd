"""Reads what the views show: counts rather than records, one page of tasks, the end of the log. Never everything."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection
from typing import Any

import msgspec

from ..clock import SECOND
from ..errors import TaskNotFoundError
from ..models.event import EVENT_FIELDS, TaskEvent
from ..models.record import EventFilter, Filter, Record
from ..models.result import RESULT, decode_result, result_key
from ..models.task import TASK, TaskStatus, spec_of
from ..parts import Parts
from ..storage.driver import Position
from . import model
from .model import Json
from .pager import PAGE, Pager
from .throughput import STEPS, Throughput

EVENTS_KEPT = 200
_LOG_STEP = 1000
_SEARCH_SECONDS = 0.5
"""So long one page may take to find what a filter lets through; the next page goes on from there."""
_OWNERS_COUNTED = 200
_SMALL = 10_000
"""Up to so many tasks a store is asked which workers the running ones belong to."""
_REPLAYED = 5000
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
        self._position: Position | None = None
        self._runs: dict[tuple[str, int], tuple[int, int] | None] = {}

    async def read(self, keys: Collection[str]) -> Json:
        """The parts of the model that all views share."""
        if not keys:
            return {}
        now = time.time()
        groups = await self.parts.queue.driver.count(TASK)
        totals = model.totals(groups)
        found: Json = {"totals": totals}
        if "queues" in keys:
            found["queues"] = model.queue_rows(groups, await self.parts.queue.paused())
        if "throughput" in keys:
            found["throughput"] = await self._read_throughput(totals, now)
        if "workers" in keys:
            found["workers"] = await self._workers(totals)
        if "events" in keys:
            found["events"] = [model.event_row(event) for event in await self._read_events()]
        if "schedules" in keys:
            found["schedules"] = [model.schedule_row(each) for each in await self.parts.schedules.list_schedules()]
        return found

    # --- throughput ---

    async def _read_throughput(self, totals: dict[str, int], now: float) -> Json:
        if not self._replayed:
            self._replayed = True
            until = int(now * SECOND)  # what ends later is in the counts that follow
            self._throughput.replay(await self._ended_lately(until - STEPS * SECOND, until))
        self._throughput.count(totals, now)
        return self._throughput.series(now)

    async def _ended_lately(self, since: int, until: int) -> list[tuple[int, str]]:
        """The tasks that ended in this time, as far as the end of the log tells: a busy store's window begins later."""
        events, _ = await self.parts.events.driver.log_end(_REPLAYED)
        lately = [each for each in events if since <= each.ts < until]
        return [(each.ts, each.event_type) for each in lately if each.event_type in ("task.succeeded", "task.dead")]

    # --- workers ---

    async def _workers(self, totals: dict[str, int]) -> list[Json]:
        workers = await self.parts.workers.list_workers()
        running = totals[TaskStatus.RUNNING]
        if len(workers) == 1:
            # A worker reports itself every few seconds; the counts say at once what it does.
            return [model.worker_row(workers[0], min(running, workers[0].concurrency))]
        if not workers or running > _OWNERS_COUNTED or sum(totals.values()) > _SMALL:
            return [model.worker_row(info) for info in workers]
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
        give_up_at = time.monotonic() + _SEARCH_SECONDS
        while True:
            limit = PAGE if pager.func else PAGE - len(records)
            page = await self.parts.queue.driver.scan(match, cursor=cursor, limit=limit)
            records += [each for each in page.records if pager.func in (None, spec_of(each).func)]
            cursor = page.cursor
            if cursor is None or len(records) >= PAGE or time.monotonic() > give_up_at:
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
        keys = [(RESULT, result_key(each)) for each in unknown]
        for each, found in zip(unknown, await self.parts.results.driver.get(keys) if keys else (), strict=True):
            body = None if found is None else decode_result(found.body)
            self._runs[each.key, each.claims] = None if body is None else (body.started_at, body.finished_at)
        return {each.key: self._runs[each.key, each.claims] for each in records}

    # --- events ---

    async def _read_events(self) -> list[TaskEvent]:
        if self._position is None:
            self._events.clear()
            events, self._position = await self.parts.events.driver.log_end(EVENTS_KEPT)
        else:
            events, self._position = await self.parts.events.driver.read_log(self._position, _LOG_STEP)
        self._events.extend(events)
        if len(events) == _LOG_STEP:
            self._position = None  # more than anybody could read: go on at the end
        return list(self._events)

    # --- one task ---

    async def detail(self, task_id: str) -> Json:
        """All that there is to say about one task.

        Raises:
            TaskNotFoundError: There is none with this id.
        """
        (record,) = await self.parts.queue.records([task_id])
        if record is None:
            raise TaskNotFoundError(task_id)
        spec = spec_of(record)
        (row,) = await self.rows([record])
        (found,) = await self.parts.results.driver.get([(RESULT, result_key(record))])
        body = None if found is None or not TaskStatus(record.state).is_final else decode_result(found.body)
        return {
            "row": row,
            "args": await self._arguments(spec.payload),
            "result": None if body is None or body.value is None else await self._value(body.value),
            "error": spec.error,
            "traceback": body.error.traceback if body is not None and body.error is not None else None,
            "events": await self._events_of(record),
            "metadata": msgspec.to_builtins(spec.metadata, str_keys=True),
        }

    async def _arguments(self, payload: bytes) -> str:
        try:
            arguments: Any = await self.parts.load(payload, "what was passed to it")
            args, kwargs = arguments
            return _shortened(", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]))
        except Exception as error:  # noqa: BLE001 -- a value's own class decides how it is read and shown
            return f"<can't be shown here: {error}>"

    async def _value(self, data: bytes) -> str:
        try:
            return _shortened(repr(await self.parts.load(data, "the result")))
        except Exception as error:  # noqa: BLE001 -- a value's own class decides how it is read and shown
            return f"<can't be shown here: {error}>"

    async def _events_of(self, record: Record) -> list[Json]:
        match = EventFilter(task_id=record.key, since=record.created_at, limit=_EVENTS_OF_TASK)
        columns = await self.parts.events.driver.query(match)
        rows = zip(*(columns[name] for name in EVENT_FIELDS), strict=True)
        return [model.event_row(TaskEvent(*row)) for row in rows]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"
