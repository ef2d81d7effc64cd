"""A replica that a driver and its clones share: a process that is one worker keeps one copy of the records, not two.

A worker has two loops, its own and that of its heartbeats, and on each a driver with a connection of its own. Any of
them may follow the log, and whoever receives a message first applies it. As a rule the first driver does, and clones
see what it has applied; when its loop is blocked, by a task's code, they follow the log themselves (see `Store`). So no
thread depends on another one that may not get to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

import msgspec

from .nats_replica import Outcome, Replica
from .nats_wire import Assembler, Request, Row, decode_requests

logger = logging.getLogger("omniq")

_RECENT = 256
"""So many segments are remembered as they were applied: whoever follows the events reads them from memory."""


class Transaction:
    """What a driver writes to the log in one go.

    Attributes:
        outcomes: One for each operation of each request, once it was applied.
        is_sent: It may have been written.
    """

    def __init__(self, number: int, requests: list[Request], encoded: Sequence[bytes]) -> None:
        self.number = number
        self.requests = requests
        self.encoded = encoded
        self.outcomes: list[list[Outcome]] | None = None
        self.is_sent = False


class Applied(NamedTuple):
    """What a transaction has done, as far as drivers care.

    Attributes:
        wrote: It wrote something: there is a hint to give.
        claimable: It may have made something claimable.
        handed: What it has handed over, and to whom.
        freed: Blobs that it has left without a record.
        before: Bytes of log since the last snapshot, before it; see `Replica.grown`.
        after: And after it.
    """

    wrote: bool
    claimable: bool
    handed: list[tuple[str, list[Row]]]
    freed: list[str]
    before: int
    after: int


class Member(Protocol):
    """One of the drivers that share a state. Its methods are called from any thread."""

    writer: bytes

    def own(self, number: int) -> Transaction | None:
        """The member's transaction with this number, if it waits for its outcomes."""

    def applied(self, applied: Applied, *, own: bool) -> None:
        """A transaction was applied, by whomever it was written."""


class State:
    """A replica, as far as anybody has brought it; use it as a context manager, and nobody changes it meanwhile.

    Args:
        replica: To begin with.
        made: When the log's stream was made.
        url: For messages; passwords masked.

    Attributes:
        followers: How many members follow the log.
    """

    def __init__(self, replica: Replica, made: str, url: str) -> None:
        self.replica = replica
        self.made = made
        self.followers = 0
        self._url = url
        self._lock = threading.Lock()
        self._moment: int | None = None
        self._assembler = Assembler()
        self._recent: OrderedDict[int, list[bytes]] = OrderedDict()
        self._members: dict[bytes, Member] = {}
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waits = 0

    def __enter__(self) -> Replica:
        self._lock.acquire()
        return self.replica

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def join(self, member: Member) -> None:
        """Have a member told of what is applied."""
        with self._lock:
            self._members[member.writer] = member

    def leave(self, member: Member) -> None:
        """Tell a member no more."""
        with self._lock:
            self._members.pop(member.writer, None)

    def count_followers(self, n: int) -> None:
        """One more (``n=1``) follows the log, or one less."""
        with self._lock:
            self.followers += n

    @property
    def seq(self) -> int:
        """The last message that was applied."""
        return self.replica.seq

    @property
    def place(self) -> tuple[int, int | None]:
        """The last message that was applied, and its moment, where that is known: not after a snapshot."""
        with self._lock:
            return self.replica.seq, self._moment

    @property
    def is_between_transactions(self) -> bool:
        """No transaction has begun that is not complete. To be asked by who holds the state."""
        return self._assembler.is_idle

    def recent_events(self, at: int) -> list[bytes] | None:
        """A segment's events, raw, as far as they are remembered."""
        return self._recent.get(at)

    # --- the log's messages ---

    def receive(self, seq: int, moment: int, data: bytes) -> None:
        """Apply a message, unless another member has done so already; each member receives them without gaps."""
        if seq <= self.replica.seq:
            return
        with self._lock:
            if seq <= self.replica.seq:
                return
            applied, writer = self._apply(seq, moment, data)
            members = tuple(self._members.values())
            reached = self._reached(seq)
        _resolve(reached)
        if applied is not None:
            for member in members:
                member.applied(applied, own=member.writer == writer)

    def _apply(self, seq: int, moment: int, data: bytes) -> tuple[Applied | None, bytes]:
        replica = self.replica
        transaction = self._assembler.take(seq, moment, data)
        replica.seq, self._moment = seq, moment
        before, replica.grown = replica.grown, replica.grown + len(data)
        if transaction is None:
            return None, b""
        member = self._members.get(transaction.writer)
        own = None if member is None else member.own(transaction.number)
        requests = own.requests if own is not None else self._decoded(seq, transaction.content)
        if requests is None:
            return None, b""
        outcomes = replica.apply(requests, seq, moment, transaction.places)
        if own is not None:
            own.outcomes = outcomes
        if replica.told:
            self._recent[seq] = [bytes(tell.events) for tell in replica.told]
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        applied = Applied(
            replica.wrote, replica.made_claimable, replica.handed, replica.freed, before, replica.grown
        )  # fmt: skip
        return applied, transaction.writer

    def _decoded(self, seq: int, content: bytes) -> list[Request] | None:
        try:
            return decode_requests(content)
        except msgspec.MsgspecError as error:
            # It says nothing to anybody, so every process passes over it, and all come to the same state.
            logger.error("message %d of the log of %s is no transaction and is left out: %s", seq, self._url, error)
            return None

    # --- waiting ---

    def when_reached(self, seq: int) -> asyncio.Future[None]:
        """A future of the running loop, that is done once a message was applied, by whomever."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self.replica.seq >= seq:
                future.set_result(None)
            else:
                self._waits += 1
                heappush(self._waiting, (seq, self._waits, future))
        return future

    def _reached(self, seq: int) -> list[asyncio.Future[None]]:
        reached: list[asyncio.Future[None]] = []
        while self._waiting and self._waiting[0][0] <= seq:
            reached.append(heappop(self._waiting)[2])
        return reached


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    running = asyncio.get_running_loop() if futures else None
    for future in futures:
        loop = future.get_loop()
        if loop is running:
            _set(future)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_set, future)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Shared:
    """Where a driver and its clones find the state that they share.

    Attributes:
        state: The latest, if any of them is open.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self.state: State | None = None

    def opened(self) -> None:
        """One of them was opened."""
        with self._lock:
            self._open += 1

    def closed(self) -> None:
        """One of them was closed; after the last one nobody needs the state."""
        with self._lock:
            self._open -= 1
            if not self._open:
                self.state = None
