"""From calls to tasks in the store: what enqueueing does once its options are known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .core import lifecycle
from .errors import DuplicateTaskError
from .ids import new_ids
from .models.record import Record
from .models.task import TaskSpec
from .options import Plan
from .registry import Registered
from .storage.large import LargeValues, arguments_key

if TYPE_CHECKING:
    from .parts import Parts
    from .serialization import Serializer

_BATCH = 1000
_LARGE_AT_ONCE = 8
"""Large arguments that are written at the same time: enough that none waits for the way to the store and back, and few
enough that their copies on the way need little memory.
"""

Call = tuple[Sequence[Any], Mapping[str, Any]]
"""Positional and keyword arguments."""


async def send(
    parts: Parts, name: str, entry: Registered | None, plan: Plan, calls: Iterable[Call], *, connection: Any = None
) -> list[str]:
    """Store a task for each call, in batches; gives their ids.

    Args:
        parts: Of the app.
        name: The function's.
        entry: The function, where it is known here.
        plan: The options.
        calls: The arguments.
        connection: A connection of the store's client library, whose transaction the tasks become a part of.

    Raises:
        SerializationError: An argument, or the function, can't be sent; nothing was stored.
        DuplicateTaskError: The plan names an id that is taken.
    """
    code = None
    if entry is not None and entry.must_ship:
        shipped = entry.shipper(parts.signer).ship()
        if not parts.functions.has_stored(shipped):
            await parts.functions.store(shipped)
        code = shipped.digest
    payloads = await _serialize(parts.serializer, calls, f"the arguments of {name}")
    spec = TaskSpec(name, b"", code, plan.retry, plan.timeout, plan.result_ttl, plan.metadata)
    ids: list[str] = []
    for start in range(0, len(payloads), _BATCH):
        batch = payloads[start : start + _BATCH]
        own_ids = [plan.task_id] if plan.task_id else new_ids(len(batch))
        now = parts.queue.driver.clock()
        if parts.large is not None:
            batch = await _offload(parts.large, batch, own_ids, now)
        records = _make(spec, plan, batch, own_ids, now)
        added = await parts.queue.put(records, spec, connection=connection)
        if False in added:
            raise DuplicateTaskError(own_ids[added.index(False)])
        ids += own_ids
    return ids


async def _serialize(serializer: Serializer, calls: Iterable[Call], what: str) -> list[bytes]:
    """The calls' arguments, all before the first is written: one that can't be sent leaves no half of a batch
    behind.
    """
    payloads: list[bytes] = []
    dumps = serializer.dumps_call
    for args, kwargs in calls:
        payloads.append(dumps(args, kwargs, what))
        if len(payloads) % _BATCH == 0:
            await asyncio.sleep(0)
    return payloads


async def _offload(large: LargeValues, payloads: Sequence[bytes], ids: Sequence[str], now: int) -> list[bytes]:
    """The arguments, references in the place of large ones, of which a few are under way at a time.

    Where one of them can't be stored, those that were under way with it have come to an end too.
    """
    offloaded = list(payloads)
    places = [place for place, payload in enumerate(payloads) if large.is_large(payload)]
    for start in range(0, len(places), _LARGE_AT_ONCE):
        some = places[start : start + _LARGE_AT_ONCE]
        writes = (large.offload(payloads[place], arguments_key(ids[place], now)) for place in some)
        for place, outcome in zip(some, await asyncio.gather(*writes, return_exceptions=True), strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            offloaded[place] = outcome
    return offloaded


def _make(spec: TaskSpec, plan: Plan, payloads: Sequence[bytes], ids: Sequence[str], now: int) -> list[Record]:
    due_at, expires_at = plan.due_at(now), plan.expires_at(now)
    records: list[Record] = []
    for task_id, payload in zip(ids, payloads, strict=True):
        spec.payload = payload
        records.append(lifecycle.enqueue(task_id, plan.queue, plan.priority, spec, now, due_at, expires_at))
    return records
