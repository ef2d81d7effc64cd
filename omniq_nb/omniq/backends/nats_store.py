"""One namespace as a process sees it: its replica, kept up with the log over one connection at a time."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from ..clock import system_clock
from ..errors import StoreCorruptError, StoreError
from ..masking import mask_url
from ..models.event import TaskEvent
from .nats_aside import Aside
from .nats_connection import FOREIGN_ERRORS, Connection, LostError, servers_of
from .nats_log import End, Log, Names
from .nats_replica import Outcome, Replica
from .nats_segments import Segment
from .nats_wire import Assembler, Request, Saved, Tell, decode_events, decode_requests, encode_request, frames, join

logger = logging.getLogger("omniq")

_LARGEST = 512 * 1024
"""Bytes of one message of the log, if the server takes as many."""
_RECENT = 256
"""So many segments are remembered as they were applied: whoever follows the events reads them from memory."""
SNAPSHOT_BYTES = 16 * 2**20
"""A snapshot is written when the log has grown by so much, and by as much as the last snapshot was large."""

_CARE_ERRORS: tuple[type[BaseException], ...] = (*FOREIGN_ERRORS, StoreError)


class Transaction:
    """What this process writes to the log in one go.

    Attributes:
        outcomes: One for each operation of each request, once it was applied.
    """

    def __init__(self, number: int, requests: list[Request], encoded: Sequence[bytes]) -> None:
        self.number = number
        self.requests = requests
        self.encoded = encoded
        self.outcomes: list[list[Outcome]] | None = None


class Store:
    """A replica and the means to keep and change it.

    Its methods raise what the client library raises; the driver translates.

    Args:
        url: The store's.
        names: Of its streams.
        options: See `NATSDriver`.
        on_change: Called after each transaction that wrote: whether something may have become claimable, and whether
            this process wrote it.

    Attributes:
        replica: As far as it has come.
        offset: Microseconds by which the server's clock is ahead of this machine's, as far as can be measured.
    """

    def __init__(
        self, url: str, names: Names, options: dict[str, Any], on_change: Callable[[bool, bool], None]
    ) -> None:
        self._url = url
        self._masked = mask_url(url)
        self._names = names
        self._options = options
        self._on_change = on_change
        self._timeout = float(options.get("timeout", 5.0))
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._log: Log | None = None
        self._aside: Aside | None = None
        self._made = ""
        self._moment = 0
        self._writer = os.urandom(16)
        self._numbers = 0
        self._own: dict[int, Transaction] = {}
        self._assembler = Assembler()
        self._recent: OrderedDict[int, list[bytes]] = OrderedDict()
        self._care: set[asyncio.Task[None]] = set()
        self._clock_error: int | None = None
        self.replica = Replica()
        self.offset = 0

    # --- connection ---

    async def connected(self) -> Log:
        """The log, over a connection that lives; made anew if need be, and the replica brought up to the log's end."""
        async with self._connecting:
            if self._log is None or self._connection is None or self._connection.is_lost:
                await self._disconnect()
                await self._connect()
            assert self._log is not None
            return self._log

    async def _connect(self) -> None:
        connection = Connection(
            servers_of(self._url), timeout=self._timeout, prefix=self._options.get("prefix", "$JS.API"),
            options=self._client_options(), on_loss=self._lost,
        )  # fmt: skip
        self._connection = connection
        try:
            await connection.open()
            self._log = Log(connection, self._names, self._masked, self._receive)
            self._aside = Aside(connection, self._names, self._masked)
            end = await self._log.prepare(self._options)
            if not await self._continues(end):
                await self._begin(end)
            await self._log.follow(self.replica.seq)
            await self._log.reached(end.last, self._timeout)
        except BaseException:
            await self._disconnect()
            raise

    def _client_options(self) -> dict[str, Any]:
        names = ("token", "tls", "user_credentials", "nkeys_seed")
        return {name: self._options[name] for name in names if name in self._options}

    def _lost(self) -> None:
        if self._log is not None:
            self._log.stop("the connection was lost")

    async def _disconnect(self) -> None:
        connection, self._connection, self._log, self._aside = self._connection, None, None, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Let go of the store."""
        for task in tuple(self._care):
            task.cancel()
        await asyncio.gather(*self._care, return_exceptions=True)
        async with self._connecting:
            await self._disconnect()

    # --- where the replica stands ---

    async def _continues(self, end: End) -> bool:
        """Whether the replica is a state that this log leads to.

        After a crash of a server that does not flush each message, its log may have lost its end, and have got another.
        """
        seq = self.replica.seq
        if end.made != self._made or seq > end.last or end.first > seq + 1:
            return False
        return seq == 0 or (self._log is not None and await self._log.moment_of(seq) == self._moment)

    async def _begin(self, end: End) -> None:
        """Take up the latest snapshot, or the log's beginning."""
        assert self._aside is not None
        self.replica, self._assembler, self._made = Replica(), Assembler(), end.made
        self._recent.clear()
        found = await self._aside.load()
        if found is not None and found[1].made == end.made and found[1].at <= end.last:
            self.replica = found[0]
        if end.first > self.replica.seq + 1:
            detail = f"messages {self.replica.seq + 1} to {end.first - 1} of its log are gone, and no snapshot has them"
            raise StoreCorruptError(self._masked, detail)

    async def catch_up(self) -> None:
        """Bring the replica to where the log ends now."""
        log = await self.connected()
        asked, seen = system_clock(), self.replica.seq
        end = await log.end()
        self._compare_clocks(asked, end.now, system_clock())
        if end.last < seen or end.made != self._made:
            self._give_up("the log's end was lost")
        await log.reached(end.last, self._timeout)

    def _give_up(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.lose(reason)
        raise LostError(reason, sent=False)

    def _compare_clocks(self, asked: int, server: int | None, answered: int) -> None:
        if server is None:
            return
        error = (answered - asked) // 2
        if self._clock_error is None or error <= self._clock_error:
            self._clock_error = error
            offset = server - (asked + answered) // 2
            self.offset = offset if abs(offset) > error else 0
        else:
            self._clock_error += self._clock_error // 16 + 1  # clocks drift: a good measurement ages

    # --- the log's messages ---

    def _receive(self, seq: int, moment: int, data: bytes) -> None:
        replica = self.replica
        transaction = self._assembler.take(seq, moment, data)
        replica.seq, self._moment = seq, moment
        before, replica.grown = replica.grown, replica.grown + len(data)
        if transaction is None:
            return
        own = self._own.get(transaction.number) if transaction.writer == self._writer else None
        requests = own.requests if own is not None else self._decoded(seq, transaction.content)
        if requests is None:
            return
        outcomes = replica.apply(requests, seq, moment, transaction.places)
        if own is not None:
            own.outcomes = outcomes
            self._take_care(before)
        if replica.told:
            self._remember(seq, replica.told)
        if replica.wrote:
            self._on_change(replica.made_claimable, own is not None)

    def _decoded(self, seq: int, content: bytes) -> list[Request] | None:
        try:
            return decode_requests(content)
        except msgspec.MsgspecError as error:
            # It says nothing to anybody, so every process passes over it, and all come to the same state.
            logger.error("message %d of the log of %s is no transaction and is left out: %s", seq, self._masked, error)
            return None

    def _remember(self, seq: int, told: list[Tell]) -> None:
        self._recent[seq] = [bytes(tell.events) for tell in told]
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    # --- writing ---

    def begin(self, requests: list[Request], encoded: Sequence[bytes]) -> Transaction:
        """A transaction to be sent."""
        self._numbers += 1
        transaction = self._own[self._numbers] = Transaction(self._numbers, requests, encoded)
        return transaction

    def forget(self, transaction: Transaction) -> None:
        """The transaction is done, or given up: should it still arrive, it is like anybody else's."""
        self._own.pop(transaction.number, None)

    async def send(self, transaction: Transaction) -> list[list[Outcome]]:
        """Write a transaction and wait until it is applied. It counts once, however often it is sent."""
        log = await self.connected()
        if transaction.outcomes is None:  # else it arrived while the connection was made anew
            assert self._connection is not None
            largest = min(_LARGEST, self._connection.largest - 1024)
            messages = frames(self._writer, transaction.number, transaction.encoded, largest)
            seq = await log.publish(messages, f"{self._writer.hex()}.{transaction.number}")
            await log.reached(seq, self._timeout)
        if transaction.outcomes is None:
            raise LostError("a snapshot took the place of the write's outcome", sent=True)
        return transaction.outcomes

    async def write_blob(self, body: bytes) -> str:
        """See `Aside.write_blob`."""
        await self.connected()
        assert self._aside is not None
        return await self._aside.write_blob(body)

    # --- reading ---

    async def read_blobs(self, names: Sequence[str]) -> list[bytes | None]:
        """See `Aside.read_blobs`."""
        await self.connected()
        assert self._aside is not None
        return await self._aside.read_blobs(names)

    async def read_events(self, segments: Sequence[Segment]) -> list[list[TaskEvent]]:
        """The events of segments, what is trimmed included, so that an event's place in its segment does not change."""
        missing = [segment for segment in segments if segment.at not in self._recent]
        recent = {segment.at: self._recent[segment.at] for segment in segments if segment.at in self._recent}
        fetched = dict(zip([segment.at for segment in missing], await self._fetch(missing), strict=True))
        return [
            [event for raw in (recent.get(segment.at) or fetched[segment.at]) for event in decode_events(raw)]
            for segment in segments
        ]

    async def _fetch(self, segments: Sequence[Segment]) -> list[list[bytes]]:
        if not segments:
            return []
        log = await self.connected()
        messages = iter(await log.read([place for segment in segments for place in segment.places]))
        found: list[list[bytes]] = []
        for segment in segments:
            parts = [next(messages) for _ in segment.places]
            if None in parts:  # trimmed, and deleted, since the segments were looked up
                found.append([])
                continue
            requests = decode_requests(join([part for part in parts if part is not None]))
            told = [op for request in requests for op in request if isinstance(op, Tell)]
            found.append([bytes(tell.events) for n, tell in enumerate(told) if n not in segment.unheard])
        return found

    # --- care ---

    def _take_care(self, before: int) -> None:
        """After an own transaction: delete what it freed, and write a snapshot if it made the log so long.

        It is one process's transaction that does that, so one process writes the snapshot, without asking the others.
        """
        if self.replica.freed:
            self._care_for(self._delete_blobs(self.replica.freed), "large bodies could not be deleted")
        step = max(int(self._options.get("snapshot_bytes", SNAPSHOT_BYTES)), self.replica.saved[1])
        if before // step != self.replica.grown // step and self._assembler.is_idle:
            self._care_for(self._save(), "no snapshot could be written, a later write will try again")

    def _care_for(self, work: Coroutine[Any, Any, None], complaint: str) -> None:
        async def logged() -> None:
            try:
                await work
            except _CARE_ERRORS as error:
                logger.warning("%s: %s", complaint, error)

        task = asyncio.ensure_future(logged())
        self._care.add(task)
        task.add_done_callback(self._care.discard)

    async def _delete_blobs(self, names: Sequence[str]) -> None:
        await self.connected()
        if self._aside is not None:
            await self._aside.delete_blobs(names)

    async def _save(self) -> None:
        await self.connected()
        assert self._aside is not None
        manifest = await self._aside.save(self.replica, self._made)
        request: Request = [Saved(manifest.at, manifest.size)]
        transaction = self.begin([request], [encode_request(request)])
        try:
            await self.send(transaction)
        finally:
            self.forget(transaction)
        await self.purge()

    async def purge(self) -> None:
        """Delete what nobody needs any more: the log that a snapshot covers and that has no events."""
        log = await self.connected()
        first = self.replica.segments.first_place()
        before = self.replica.saved[0] + 1
        await log.purge(before if first is None else min(before, first))
