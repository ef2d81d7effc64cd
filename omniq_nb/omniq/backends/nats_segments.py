"""Where the events lie: a transaction's events are one segment, and stay in the log's messages.

A replica remembers of each segment 32 bytes: where it is, how many events it has and what span of time they cover. So a
query reads only messages that its span touches, and trimming knows what goes without reading it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from .nats_wire import Tell


class Segment(NamedTuple):
    """One transaction's events.

    Attributes:
        at: The sequence number at which the transaction was complete; segments are in this order.
        n: How many events are left.
        low: None is earlier; what was earlier is trimmed.
        high: None is later.
        places: The messages that hold the transaction.
        unheard: Which of its `Tell` operations did not apply.
    """

    at: int
    n: int
    low: int
    high: int
    places: tuple[int, ...]
    unheard: frozenset[int]


class Packed(msgspec.Struct, array_like=True, tag="s", gc=False):
    """Segments as a snapshot has them."""

    at: list[int]
    n: list[int]
    low: list[int]
    high: list[int]
    places: dict[int, tuple[int, ...]]
    unheard: dict[int, tuple[int, ...]]


class Segments:
    """All segments, in order.

    Attributes:
        end: Position after the last event that was ever appended: where, and how many events of that segment.
    """

    def __init__(self) -> None:
        self._at, self._n, self._low, self._high = (array("q") for _ in range(4))
        # Of the few for which there is something to say.
        self._places: dict[int, tuple[int, ...]] = {}
        self._unheard: dict[int, frozenset[int]] = {}
        self.end = (0, 0)

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, index: int) -> Segment:
        at = self._at[index]
        return Segment(
            at, self._n[index], self._low[index], self._high[index], self._places.get(at, (at,)),
            self._unheard.get(at, frozenset()),
        )  # fmt: skip

    def add(self, at: int, told: Sequence[Tell], unheard: Sequence[int], places: tuple[int, ...]) -> None:
        """Add a transaction's events; nothing, if it has none."""
        spans = [(tell.low, tell.high) for tell in told if tell.n]
        if not spans:
            return
        n = sum(tell.n for tell in told)
        self._at.append(at)
        self._n.append(n)
        self._low.append(min(low for low, _ in spans))
        self._high.append(max(high for _, high in spans))
        if places != (at,):
            self._places[at] = places
        if unheard:
            self._unheard[at] = frozenset(unheard)
        self.end = (at, n)

    def first_place(self) -> int | None:
        """The first message that holds an event."""
        if not self._at:
            return None
        return min([self[0].places[0], *(places[0] for places in self._places.values())])

    def touching(self, since: int | None, until: int | None) -> Iterator[Segment]:
        """Those that may have events in the span."""
        for index, (low, high) in enumerate(zip(self._low, self._high, strict=True)):
            if (since is None or high >= since) and (until is None or low < until):
                yield self[index]

    def after(self, at: int) -> Iterator[Segment]:
        """Those from ``at`` on."""
        for index in range(bisect_left(self._at, at), len(self._at)):
            yield self[index]

    def last(self, events: int) -> Iterator[Segment]:
        """The last ones that have so many events between them."""
        start, n = len(self._at), 0
        while start and n < events:
            start -= 1
            n += self._n[start]
        return self.after(self._at[start]) if start < len(self._at) else iter(())

    def partly_before(self, moment: int) -> list[Segment]:
        """Those of which a trim would leave a part."""
        return list(self.touching(moment, moment))

    def trim(self, before: int, partly: dict[int, int]) -> int:
        """Forget the events before a moment; says how many.

        Args:
            before: The moment.
            partly: How many events go from a segment of which some stay, by its ``at``.
        """
        if not any(low < before for low in self._low):
            return 0
        trimmed, kept = 0, Segments()
        for index, (low, high) in enumerate(zip(self._low, self._high, strict=True)):
            at, n = self._at[index], self._n[index]
            if high < before:
                trimmed += n
                self._places.pop(at, None)
                self._unheard.pop(at, None)
                continue
            if low < before:
                gone = min(partly.get(at, 0), n)
                trimmed, n, low = trimmed + gone, n - gone, before
            for column, value in ((kept._at, at), (kept._n, n), (kept._low, low), (kept._high, high)):
                column.append(value)
        self._at, self._n, self._low, self._high = kept._at, kept._n, kept._low, kept._high
        return trimmed

    # --- snapshots ---

    def pack(self, step: int) -> Iterator[Packed]:
        """As parts of a snapshot, each of so many segments at most."""
        for start in range(0, len(self._at), step):
            part = slice(start, start + step)
            at = self._at[part]
            yield Packed(
                at.tolist(),
                self._n[part].tolist(),
                self._low[part].tolist(),
                self._high[part].tolist(),
                {each: self._places[each] for each in at if each in self._places} if self._places else {},
                {each: tuple(self._unheard[each]) for each in at if each in self._unheard} if self._unheard else {},
            )

    def unpack(self, packed: Packed) -> None:
        """Add a part of a snapshot."""
        for column, content in (
            (self._at, packed.at), (self._n, packed.n), (self._low, packed.low), (self._high, packed.high)
        ):  # fmt: skip
            column.extend(content)
        self._places |= packed.places
        self._unheard |= {at: frozenset(unheard) for at, unheard in packed.unheard.items()}
