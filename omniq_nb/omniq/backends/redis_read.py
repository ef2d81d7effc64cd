"""Pages of records, and their numbers, from Redis."""

from __future__ import annotations

from ..models.record import Filter
from . import redis_scripts as scripts
from .redis_codec import moment, read_moment
from .redis_scripts import Run

_PAGE = 1000


async def scan(run: Run, match: Filter, cursor: str | None, limit: int) -> tuple[str | None, list[bytes]]:
    """A page as `Driver.scan` gives it: the cursor, then keys and packed records in turn."""
    limit = min(limit, _PAGE)
    if match.expires_before is not None:
        return await _scan_expired(run, match, match.expires_before, cursor, limit)
    conditions = _conditions(p=match.partition, s=match.state, c=cursor) + ("n" if match.newest_first else "")
    at, *found = await run(
        scripts.SCAN,
        match.kind,
        conditions,
        match.partition or "",
        match.state or "",
        cursor or "",
        match.prefix,
        limit,
    )
    return None if at is None else at.decode(), found


async def _scan_expired(
    run: Run, match: Filter, before: int, cursor: str | None, limit: int
) -> tuple[str | None, list[bytes]]:
    conditions = _conditions(p=match.partition, s=match.state)
    at, *found = await run(
        scripts.EXPIRED, match.kind, conditions, match.partition or "", match.state or "", match.prefix, limit,
        moment(before), _expiry_cursor(cursor),
    )  # fmt: skip
    return None if at is None else f"{read_moment(at[:8])} {at[8:].decode()}", found


def _conditions(**given: str | None) -> str:
    """The letters of those that are set."""
    return "".join(letter for letter, value in given.items() if value is not None)


def _expiry_cursor(cursor: str | None) -> bytes:
    if cursor is None:
        return b""
    expires_at, _, key = cursor.partition(" ")
    return moment(int(expires_at)) + key.encode()


async def count(run: Run, kind: str) -> dict[tuple[str, str], int]:
    """See `Driver.count`."""
    found = await run(scripts.COUNT, kind)
    counts: dict[tuple[str, str], int] = {}
    for group, number in zip(found[::2], found[1::2], strict=True):
        length, _, names = group.partition(b":")
        partition, state = names[: int(length)], names[int(length) + 1 :]
        if number:
            counts[partition.decode(), state.decode()] = number
    return counts
