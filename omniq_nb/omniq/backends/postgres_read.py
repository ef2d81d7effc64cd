"""Reading a PostgreSQL store: one statement, and so one snapshot, per call; scans go by the cheapest index.

Statements are put together here; the driver sends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..models.record import RUNNING, Filter, Page, Record
from ..storage.driver import Key

COLUMNS = "kind, key, partition, state, rank, due_at, owner, claims, version, created_at, updated_at, expires_at, body"

_MANY_GROUPS = 50
"""From so many partitions and states on, walking the keys may find a page sooner than looking into each of them."""
_COMMON = 0.5
"""A share of all records that the walk finds soon."""
_LAST_CHARACTER = "\U0010ffff"

Counts = dict[tuple[str, str], int]


class Statement(NamedTuple):
    """SQL and its values."""

    sql: str
    values: list[Any]


def get(schema: str, keys: Sequence[Key]) -> Statement:
    """The records with these keys, each after its number in the list."""
    return Statement(
        f"SELECT n, {COLUMNS} FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked(kind, key, n) "
        f"JOIN {schema}.records USING (kind, key)",
        [[kind for kind, _ in keys], [key for _, key in keys]],
    )


def count(schema: str, kind: str) -> Statement:
    """See `Driver.count`."""
    return Statement(
        "SELECT partition, state, sum(n)::bigint FROM ("
        f"SELECT partition, state, n FROM {schema}.counts WHERE kind = $1 UNION ALL "
        f"SELECT partition, state, n FROM {schema}.changes WHERE kind = $1) AS all_of_them "
        "GROUP BY partition, state HAVING sum(n) > 0",
        [kind],
    )


def next_due(schema: str, kind: str, now: int | None) -> Statement:
    """See `Driver.next_due`."""
    earliest = (
        f"(SELECT due_at FROM {schema}.records WHERE kind = $1 AND NOT ready AND due_at > coalesce($2, {schema}.now()) "
        "AND state {} 'running' ORDER BY due_at LIMIT 1)"
    )
    both = f"{earliest.format('<>')} UNION ALL {earliest.format('=')}"
    return Statement(f"SELECT min(due_at) FROM ({both}) AS both_of_them", [kind, now])


# --- scans ---


def needs_counts(match: Filter) -> bool:
    """Whether a scan wants to know which partitions and states there are."""
    return match.expires_before is None and (match.partition, match.state) != (None, None)


def scan(schema: str, match: Filter, cursor: str | None, limit: int, counts: Counts) -> Statement | None:
    """The statement for a page; ``None``: nothing can match.

    Args:
        schema: Quoted.
        match: The filter.
        cursor: The last page's.
        limit: Records at most.
        counts: How many records of the kind there are, where the scan needs to know.
    """
    if match.expires_before is not None:
        return _by_expiry(schema, match, match.expires_before, cursor, limit)
    if not needs_counts(match):
        return _by_key(schema, match, cursor, limit)
    groups = [group for group in counts if match.partition in (None, group[0]) and match.state in (None, group[1])]
    if not groups:
        return None
    matching = sum(counts[group] for group in groups)
    is_common = len(groups) > _MANY_GROUPS and matching > _COMMON * sum(counts.values())
    if is_common or any(state == "" for _, state in groups):  # records without a state are not in the index
        return _by_key(schema, match, cursor, limit)
    return _by_group(schema, match, cursor, limit, groups)


def page(match: Filter, records: list[Record], limit: int) -> Page:
    """A page of what was found."""
    if len(records) < limit or not records:
        return Page(records, None)
    last = records[-1]
    return Page(records, last.key if match.expires_before is None else f"{last.expires_at} {last.key}")


def _by_key(schema: str, match: Filter, cursor: str | None, limit: int) -> Statement:
    values: list[Any] = [match.kind]
    sql = f"SELECT {COLUMNS} FROM {schema}.records WHERE kind = $1"
    sql += _conditions(match, values) + _bounds(match, cursor, values)
    values.append(limit)
    return Statement(f"{sql} ORDER BY key {_order(match)} LIMIT ${len(values)}", values)


def _by_group(
    schema: str, match: Filter, cursor: str | None, limit: int, groups: Sequence[tuple[str, str]]
) -> Statement:
    """The first so many of each group, and all running ones, of which the first so many are the page."""
    values: list[Any] = [match.kind]
    bounds = _bounds(match, cursor, values)
    values.append(limit)
    order = f"ORDER BY key {_order(match)} LIMIT ${len(values)}"
    found = f"SELECT {COLUMNS} FROM {schema}.records WHERE kind = $1{bounds}"
    parts: list[str] = []
    if resting := [group for group in groups if group[1] != RUNNING]:
        values += [[partition for partition, _ in resting], [state for _, state in resting]]
        parts.append(
            f"SELECT r.* FROM unnest(${len(values) - 1}::text[], ${len(values)}::text[]) AS wanted(partition, state), "
            f"LATERAL ({found} AND partition = wanted.partition AND state = wanted.state AND state <> '' "
            f"AND state <> 'running' {order}) AS r"
        )
    if running := [partition for partition, state in groups if state == RUNNING]:
        values.append(running)
        # Without the OFFSET the planner might walk all records in order of their keys.
        parts.append(
            f"SELECT * FROM ({found} AND partition = ANY (${len(values)}) AND state = 'running' OFFSET 0) AS running"
        )
    return Statement(f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS found {order}", values)


def _by_expiry(schema: str, match: Filter, before: int, cursor: str | None, limit: int) -> Statement:
    values: list[Any] = [match.kind, before]
    sql = f"SELECT {COLUMNS} FROM {schema}.records WHERE kind = $1 AND expires_at < $2"
    sql += _conditions(match, values) + _bounds(match, None, values)
    if cursor is not None:
        expires_at, _, key = cursor.partition(" ")
        values += [int(expires_at), key]
        sql += f" AND (expires_at, key) > (${len(values) - 1}, ${len(values)})"
    values.append(limit)
    return Statement(f"{sql} ORDER BY expires_at, key LIMIT ${len(values)}", values)


def _order(match: Filter) -> str:
    return "DESC" if match.newest_first else "ASC"


def _conditions(match: Filter, values: list[Any]) -> str:
    sql = ""
    for column in ("partition", "state"):
        if (wanted := getattr(match, column)) is not None:
            values.append(wanted)
            sql += f" AND {column} = ${len(values)}"
    return sql


def _bounds(match: Filter, cursor: str | None, values: list[Any]) -> str:
    sql = ""
    if match.prefix:
        # The least text that is greater than every text with the prefix: U+10FFFF is the last code point.
        values += [match.prefix, match.prefix + _LAST_CHARACTER]
        sql += f" AND key >= ${len(values) - 1} AND key < ${len(values)}"
    if cursor is not None:
        values.append(cursor)
        sql += f" AND key {'<' if match.newest_first else '>'} ${len(values)}"
    return sql
