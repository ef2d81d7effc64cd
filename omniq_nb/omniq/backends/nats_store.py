"""One namespace as a driver sees it: the state that the log leads to, kept up with it over one connection at a time."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from ..clock import system_clock
from ..errors import StoreCorruptError, StoreError
from ..models.event import TaskEvent
from .nats_aside import Aside, Snapshot
from .nats_connection import FOREIGN_ERRORS, Connection, LostError, servers_of
from .nats_log import End, Log, Names
from .nats_replica import Outcome, Replica
from .nats_segments import Segment
from .nats_state import Applied, Shared, State, Transaction
from .nats_wire import Request, Row, Saved, Tell, decode_events, decode_requests, encode_request, frames, join

logger = logging.getLogger("omniq")

_LARGEST = 512 * 1024
"""Bytes of one message of the log, if the server takes as many."""
SNAPSHOT_BYTES = 16 * 2**20
"""A snapshot is written when the log has grown by so much, and by as much as the last snapshot was large."""
_PATIENCE_SECONDS = 0.25
"""So long a clone waits for whoever follows the log; then it follows the log itself."""
_CARE_ERRORS: tuple[type[BaseException], ...] = (*FOREIGN_ERRORS, StoreError)


class Store:
    """What a driver needs to read and change the state.

    Its methods raise what the client library raises; the driver translates.

    Args:
        url: The store's.
        names: Of its streams.
        options: See `NATSDriver`.
        shared: Where a driver and its clones share a state.
        on_change: Called after each transaction that wrote, from any thread: whether something may have become
            claimable, and whether this driver wrote it.
        on_handed: Called before that with an owner, who need not be one of this driver, and what he was handed.
        follows: Whether it follows the log in any case, or only if no other one does.

    Attributes:
        writer: Names this driver in the log.
        offset: Microseconds by which the server's clock is ahead of this machine's, as far as can be measured.
    """

    def __init__(
        self,
        url: str,
        names: Names,
        options: dict[str, Any],
        shared: Shared,
        on_change: Callable[[bool, bool], None],
        on_handed: Callable[[str, list[Row]], None],
        *,
        follows: bool,
    ) -> None:
        self._url = url
        self._names = names
        self._options = options
        self._shared = shared
        self._on_change = on_change
        self._on_handed = on_handed
        self._must_follow = follows
        self._timeout = float(options.get("timeout", 5.0))
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._log: Log | None = None
        self._aside: Aside | None = None
        self._follows = False
        self._state: State | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self.writer = os.urandom(16)
        self._numbers = 0
        self._own: dict[int, Transaction] = {}
        self._care: set[asyncio.Task[None]] = set()
        self._clock_error: int | None = None
        self._snapshot_is_due = False
        self.offset = 0
        shared.opened()

    @property
    def state(self) -> State:
        """The records and where the events are, as far as the log was followed."""
        assert self._state is not None, "asked before it was connected"
        return self._state

    # --- connection ---

    async def connected(self) -> Log:
        """The log, over a connection that lives; made anew if need be, and the state brought up to the log's end."""
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
            self._log = Log(connection, self._names, self._url)
            self._aside = Aside(connection, self._names, self._url)
            state = self._shared.state
            place = None if state is None else state.place  # before the end is asked for, since others follow the log
            end = await self._log.prepare(self._options)
            if state is None or place is None or not await self._continues(state.made, *place, end):
                state = self._shared.state = await self._begin(end)
            self._take_up(state)
            if self._must_follow or not state.followers:
                await self._follow()
            await self._reached(end.last)
        except BaseException:
            await self._disconnect()
            raise

    def _client_options(self) -> dict[str, Any]:
        names = ("token", "tls", "user_credentials", "nkeys_seed")
        return {name: self._options[name] for name in names if name in self._options}

    def _take_up(self, state: State) -> None:
        if self._state is not None and self._state is not state:
            self._state.leave(self)
        self._state = state
        state.join(self)

    async def _follow(self) -> None:
        if self._follows:
            return
        assert self._log is not None
        self._follows = True
        self.state.count_followers(1)
        await self._log.follow(self.state.seq, self.state.receive)

    def _lost(self) -> None:
        if self._log is not None:
            self._log.stop()
        if self._follows:
            self._follows = False
            self.state.count_followers(-1)
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_exception(LostError("the connection was lost", sent=True))

    async def _disconnect(self) -> None:
        connection = self._connection
        if connection is not None:
            await connection.close()
        self._connection = self._log = self._aside = None

    async def close(self) -> None:
        """Let go of the store."""
        for task in tuple(self._care):
            task.cancel()
        await asyncio.gather(*self._care, return_exceptions=True)
        async with self._connecting:
            await self._disconnect()
        if self._state is not None:
            self._state.leave(self)
        self._shared.closed()

    # --- where the state stands ---

    async def _continues(self, made: str, seq: int, moment: int | None, end: End) -> bool:
        """Whether a state is one that this log leads to.

        After a crash of a server that does not flush each message, its log may have lost its end, and have got another.
        """
        if end.made != made or seq > end.last or end.first > seq + 1:
            return False
        return seq == 0 or (self._log is not None and await self._log.moment_of(seq) == moment)

    async def _begin(self, end: End) -> State:
        """Take up the latest snapshot, or the log's beginning."""
        assert self._aside is not None
        replica = Replica()
        found = await self._aside.load()
        if found is not None and found[1].made == end.made and found[1].at <= end.last:
            replica = found[0]
        if end.first > replica.seq + 1:
            detail = f"messages {replica.seq + 1} to {end.first - 1} of its log are gone, and no snapshot has them"
            raise StoreCorruptError(self._url, detail)
        return State(replica, end.made, self._url)

    async def _reached(self, seq: int) -> None:
        """Wait until the state has a message.

        Raises:
            LostError: It does not come.
        """
        future = self.state.when_reached(seq)
        if future.done():
            return
        self._waiting.add(future)
        connection = self._connection
        assert connection is not None
        timer = self._loop.call_later(self._timeout, connection.lose, "the server does not send the end of the log")
        try:
            if not self._follows:
                if self.state.followers:
                    await asyncio.wait([future], timeout=_PATIENCE_SECONDS)
                if not future.done() and not connection.is_lost:
                    await self._follow()
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    async def catch_up(self) -> None:
        """Bring the state to where the log ends now."""
        log = await self.connected()
        asked, seen = system_clock(), self.state.seq
        end = await log.end()
        self._compare_clocks(asked, end.now, system_clock())
        if end.last < seen or end.made != self.state.made:
            self._give_up("the log's end was lost")
        await self._reached(end.last)

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

    # --- what the state tells, from any thread ---

    def own(self, number: int) -> Transaction | None:
        """See `Member.own`."""
        return self._own.get(number)

    def applied(self, applied: Applied, *, own: bool) -> None:
        """See `Member.applied`."""
        for owner, rows in applied.handed:
            self._on_handed(owner, rows)
        if applied.wrote:
            self._on_change(applied.claimable, own)
        if not own:
            return
        step = max(int(self._options.get("snapshot_bytes", SNAPSHOT_BYTES)), self.state.replica.saved[1])
        if applied.before // step != applied.after // step:
            self._snapshot_is_due = True
        if applied.freed or self._snapshot_is_due:
            with suppress(RuntimeError):  # the loop is closed, and somebody else will take care one day
                self._loop.call_soon_threadsafe(self._take_care, applied.freed)

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
            messages = frames(self.writer, transaction.number, transaction.encoded, largest)
            transaction.is_sent = True
            seq = await log.publish(messages, f"{self.writer.hex()}.{transaction.number}")
            await self._reached(seq)
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
        raws = {segment.at: self.state.recent_events(segment.at) for segment in segments}
        missing = [segment for segment in segments if raws[segment.at] is None]
        raws |= zip([segment.at for segment in missing], await self._fetch(missing), strict=True)
        return [[event for raw in raws[segment.at] or () for event in decode_events(raw)] for segment in segments]

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

    def _take_care(self, freed: Sequence[str]) -> None:
        """After an own transaction: delete what it freed, and write a snapshot if it made the log so long.

        It is one driver's transaction that does that, so one driver writes the snapshot, without asking the others.
        """
        if self._state is None or self._connection is None:
            return
        if freed:
            self._care_for(self._delete_blobs(freed), "large bodies could not be deleted")
        if not self._snapshot_is_due:
            return
        with self._state as replica:
            if not self._state.is_between_transactions:
                return  # the next own transaction will see
            snapshot = Snapshot(replica, self._state.made)
        self._snapshot_is_due = False
        self._care_for(self._save(snapshot), "no snapshot could be written, a later write will try again")

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

    async def _save(self, snapshot: Snapshot) -> None:
        await self.connected()
        assert self._aside is not None
        manifest = await self._aside.save(snapshot)
        if manifest is None or manifest.made != self.state.made:
            return
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
        with self.state as replica:
            first, before = replica.segments.first_place(), replica.saved[0] + 1
        await log.purge(before if first is None else min(before, first))
