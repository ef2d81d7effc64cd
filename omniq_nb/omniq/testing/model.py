"""The driver contract as a hundred lines of plain Python: what a store must do, without how."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from ..models.event import TaskEvent
from ..models.record import RUNNING, Append, Delete, EventFilter, Extend, Filter, Insert, Op, Record, Replace
from ..storage.driver import Key


def matches(record: Record, match: Filter) -> bool:
    """Whether a scan with this filter gives the record."""
    return (
        record.kind == match.kind
        and match.partition in (None, record.partition)
        and match.state in (None, record.state)
        and record.key.startswith(match.prefix)
        and (
            match.expires_before is None or (record.expires_at is not None and record.expires_at < match.expires_before)
        )
    )


def matches_event(event: TaskEvent, match: EventFilter) -> bool:
    """Whether a query with this filter gives the event, its limit aside."""

    def is_type(wanted: str) -> bool:
        return event.event_type.startswith(wanted[:-1]) if wanted.endswith(".*") else event.event_type == wanted

    return (
        match.task_id in (None, event.task_id)
        and match.schedule_id in (None, event.schedule_id)
        and match.queue in (None, event.queue)
        and (match.since is None or event.ts >= match.since)
        and (match.until is None or event.ts < match.until)
        and (not match.types or any(map(is_type, match.types)))
    )


def latest(events: Sequence[TaskEvent], limit: int | None) -> list[TaskEvent]:
    """The last so many in order of time; among equal times in the order given."""
    ordered = sorted(events, key=lambda event: event.ts)
    return ordered if limit is None else ordered[len(ordered) - min(limit, len(ordered)) :]


class Model:
    """A store that does what the contract says, and nothing else: a dictionary and a list."""

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}
        self.events: list[TaskEvent] = []
        self._standing: dict[str, tuple[Sequence[str] | None, str, int, Collection[str], int]] = {}

    def claim(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        lease: int,
        excluding: Collection[str],
        now: int,
    ) -> list[Record]:
        """See `Driver.claim`."""

        def order(record: Record) -> tuple[int, int, int, str]:
            position = 0 if partitions is None else partitions.index(record.partition)
            return record.rank, position, record.created_at, record.key

        due = [
            record
            for record in self.records.values()
            if record.kind == kind
            and record.due_at is not None
            and record.due_at <= now
            and (partitions is None or record.partition in partitions)
            and record.partition not in excluding
        ]
        claimed = [
            replace(
                record,
                state=RUNNING,
                owner=owner,
                claims=record.claims + 1,
                version=record.version + 1,
                due_at=now + lease,
                updated_at=now,
            )
            for record in sorted(due, key=order)[:limit]
        ]
        self.records.update({(record.kind, record.key): record for record in claimed})
        return claimed

    def stand(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        excluding: Collection[str],
        until: int,
    ) -> None:
        """Leave a claim standing until a moment; one of each kind will do."""
        self._standing[kind] = partitions, owner, limit, excluding, until

    def end_standing(self, kind: str) -> None:
        """See `Driver.end_standing`."""
        self._standing.pop(kind, None)

    def hand_over(self, kind: str, n: int, lease: int, now: int) -> list[Record]:
        """What the claim that stands is given, if the store hands so many records over, as it may."""
        if n == 0:
            return []
        assert kind in self._standing, f"{n} records were handed over, and no claim of {kind} stands"
        partitions, owner, limit, excluding, until = self._standing.pop(kind)
        assert n <= limit
        assert now <= until
        return self.claim(kind, partitions, owner, n, lease, excluding, now)

    def write(self, ops: Sequence[Op]) -> list[bool]:
        """See `Driver.write`."""
        outcomes: list[bool] = []
        for op in ops:
            after: int | None = getattr(op, "after", None)
            outcomes.append((after is None or outcomes[after]) and self._apply(op))
        return outcomes

    def _apply(self, op: Op) -> bool:
        if isinstance(op, Append):
            self.events += op.events
            return True
        if isinstance(op, Insert):
            key = (op.record.kind, op.record.key)
            if key in self.records:
                return False
            self.records[key] = replace(op.record, version=1)
            return True
        assert isinstance(op, Replace | Extend | Delete)
        key = (op.previous.kind, op.previous.key)
        current = self.records.get(key)
        if current is None or current.version != op.previous.version:
            return False
        if isinstance(op, Replace):
            self.records[key] = replace(op.record, version=current.version + 1, created_at=current.created_at)
        elif isinstance(op, Extend):
            self.records[key] = replace(current, due_at=op.due_at)
        else:
            del self.records[key]
        return True

    def scan(self, match: Filter) -> list[Record]:
        """Every record that matches, in the order of `Driver.scan`."""
        found = sorted((r for r in self.records.values() if matches(r, match)), key=lambda record: record.key)
        if match.expires_before is not None:
            return sorted(found, key=lambda record: record.expires_at or 0)
        return found[::-1] if match.newest_first else found

    def count(self, kind: str) -> dict[tuple[str, str], int]:
        """See `Driver.count`."""
        counts: dict[tuple[str, str], int] = {}
        for record in self.records.values():
            if record.kind == kind:
                counts[record.partition, record.state] = counts.get((record.partition, record.state), 0) + 1
        return counts

    def next_due(self, kind: str, now: int) -> int | None:
        """See `Driver.next_due`."""
        return min(
            (r.due_at for r in self.records.values() if r.kind == kind and r.due_at is not None and r.due_at > now),
            default=None,
        )

    def query(self, match: EventFilter) -> list[TaskEvent]:
        """The rows of what `Driver.query` gives."""
        return latest([event for event in self.events if matches_event(event, match)], match.limit)
