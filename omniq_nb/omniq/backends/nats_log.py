"""The log: one JetStream stream, written by everybody, followed by everybody from its first message to its end.

What the server adds to a message makes it a log that replicas can follow: its place in one order for all, the moment at
which it came, and that it counts once, however often it is sent (`Nats-Msg-Id`): so what may have been sent before a
connection was lost can be sent again.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from heapq import heappop, heappush
from typing import Any, NamedTuple

import nats.errors
from nats.aio.msg import Msg

from ..errors import StoreCorruptError, StoreTooNewError
from .nats_connection import Connection, JetStreamError, LostError, answer_of
from .nats_wire import SCHEMA

_DUPLICATES_NS = 120 * 10**9
"""How long the server knows a message again; nobody sends one again after a few seconds."""
_HEARTBEAT_NS = 5 * 10**9
_SILENT_SECONDS = 12.0
"""After two heartbeats that did not come, the server no longer follows the log for us."""
_META = "omniq.schema"


class Names(NamedTuple):
    """What a namespace's streams and subjects are called."""

    stream: str
    subject: str
    aside: str
    aside_subject: str

    @classmethod
    def of(cls, namespace: str) -> Names:
        """The names for a namespace."""
        stream = f"OMNIQ_{namespace}"
        return cls(stream, f"omniq.{namespace}.log", f"{stream}_ASIDE", f"omniq.{namespace}.aside")


class End(NamedTuple):
    """Where the log ends, as the server says.

    Attributes:
        last: The last message's number.
        first: That of the first one which is still there.
        made: When the stream was made; another moment is another stream.
        now: The server's clock, in microseconds since 1970; ``None``: it did not say.
    """

    last: int
    first: int
    made: str
    now: int | None


Receive = Callable[[int, int, bytes], None]
"""Takes a message: its number, the server's clock in microseconds, its content."""


class Log:
    """One namespace's log over one connection.

    Args:
        connection: Open.
        names: The namespace's.
        url: For messages; passwords masked.
        receive: Takes the messages, in order and without gaps.
    """

    def __init__(self, connection: Connection, names: Names, url: str, receive: Receive) -> None:
        self._connection = connection
        self._names = names
        self._url = url
        self._receive = receive
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waits = 0
        self._loop = asyncio.get_running_loop()
        self._watchdog: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self.seq = 0
        self.failure: StoreCorruptError | None = None

    # --- streams ---

    async def prepare(self, options: dict[str, Any]) -> End:
        """Make the streams where they are missing, and look at the log's end.

        Raises:
            StoreError: The stream is another version's, or nobody's.
        """
        try:
            info = await self._info()
        except JetStreamError as error:
            if not error.is_missing:
                raise
            await self._create(options)
            info = await self._info()
        self._check(info["config"].get("metadata") or {})
        return _end_of(info)

    async def _create(self, options: dict[str, Any]) -> None:
        common = {
            "retention": "limits", "storage": options.get("storage", "file"), "discard": "new", "max_msgs": -1,
            "max_age": 0, "max_consumers": -1, "num_replicas": options.get("replicas", 1), "allow_direct": True,
            "compression": options.get("compression", "none"), "max_msgs_per_subject": -1,
            "metadata": {_META: str(SCHEMA)},
        }  # fmt: skip
        aside = common | {"name": self._names.aside, "subjects": [f"{self._names.aside_subject}.>"], "max_bytes": -1}
        log = common | {
            "name": self._names.stream, "subjects": [self._names.subject], "max_bytes": options.get("max_bytes", -1),
            "duplicate_window": _DUPLICATES_NS, "deny_delete": True,
        }  # fmt: skip
        for config in (aside, log):  # the log last: whoever sees it finds the other
            await self._connection.request(f"STREAM.CREATE.{config['name']}", config)

    def _check(self, metadata: dict[str, str]) -> None:
        found = metadata.get(_META, "")
        if not found.isdigit():
            raise StoreCorruptError(self._url, f"the stream {self._names.stream} was not made by OmniQ")
        if int(found) > SCHEMA:
            raise StoreTooNewError(self._url, f"its schema is {found}, this OmniQ knows {SCHEMA}")

    async def _info(self) -> dict[str, Any]:
        return await self._connection.request(f"STREAM.INFO.{self._names.stream}")

    async def end(self) -> End:
        """Where the log ends now: whatever was written before this call began is before it."""
        return _end_of(await self._info())

    async def moment_of(self, seq: int) -> int | None:
        """When a message came, in microseconds since 1970; ``None``: there is no such message."""
        try:
            answer = await self._connection.request(f"STREAM.MSG.GET.{self._names.stream}", {"seq": seq})
        except JetStreamError as error:
            if error.is_missing:
                return None
            raise
        return _micros(answer["message"]["time"])

    async def read(self, seqs: Sequence[int]) -> list[bytes | None]:
        """The contents of messages that are known to have been written."""
        return await read_by_number(self._connection, self._names.stream, seqs)

    async def purge(self, before: int) -> None:
        """Delete the messages before a number."""
        await self._connection.request(f"STREAM.PURGE.{self._names.stream}", {"seq": before})

    # --- writing ---

    async def publish(self, contents: Sequence[bytes], name: str) -> int:
        """Write messages, once, however often it is called with the same name; gives the last one's number."""
        answers = [
            await self._connection.send(self._names.subject, content, {"Nats-Msg-Id": f"{name}.{n}"})
            for n, content in enumerate(contents)
        ]
        seq = 0
        try:
            for answer in answers:
                seq = max(seq, answer_of(await answer)["seq"])
        except nats.errors.NoRespondersError as error:
            raise LostError("nobody takes writes just now: the stream has no leader", sent=False) from error
        return seq

    # --- following ---

    async def follow(self, after: int) -> None:
        """Receive the messages after a number, and all that come later."""
        self.seq = after
        inbox = self._connection.new_inbox()
        await self._connection.subscribe(inbox, self._arrived)
        config = {
            "deliver_subject": inbox, "deliver_policy": "by_start_sequence", "opt_start_seq": after + 1,
            "ack_policy": "none", "flow_control": True, "idle_heartbeat": _HEARTBEAT_NS, "mem_storage": True,
            "num_replicas": 1, "max_deliver": 1,
        }  # fmt: skip
        name = self._names.stream
        await self._connection.request(f"CONSUMER.CREATE.{name}", {"stream_name": name, "config": config})
        self._heard = self._loop.time()
        self._watch_over()

    def _watch_over(self) -> None:
        if self._connection.is_lost:
            return
        if self._loop.time() - self._heard > _SILENT_SECONDS:
            self._connection.lose("the server has ceased to send the log")
            return
        self._watchdog = self._loop.call_later(_SILENT_SECONDS / 2, self._watch_over)

    async def _arrived(self, message: Msg) -> None:
        self._heard = self._loop.time()
        if not message.reply.startswith("$JS.ACK"):
            await self._control(message)
            return
        seq, now = _place_of(message.reply)
        if seq <= self.seq or self._connection.is_lost:
            return
        if seq != self.seq + 1:
            # Between the two, messages were purged: a snapshot has what they said, or the log is damaged.
            self._connection.lose(f"messages {self.seq + 1} to {seq - 1} of the log are gone")
            return
        self._receive(seq, now, message.data)
        self.seq = seq
        while self._waiting and self._waiting[0][0] <= seq:
            future = heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    async def _control(self, message: Msg) -> None:
        # Flow control wants an answer; a heartbeat says whether the server waits for one that got lost.
        stalled = (message.headers or {}).get("Nats-Consumer-Stalled")
        for subject in (message.reply, stalled):
            if subject and not self._connection.is_lost:
                await self._connection.publish(subject)

    async def reached(self, seq: int, timeout: float) -> None:
        """Wait until a message was received.

        Raises:
            LostError: It does not come.
        """
        if self.seq >= seq:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waits += 1
        heappush(self._waiting, (seq, self._waits, future))
        timer = self._loop.call_later(timeout, self._connection.lose, "the server does not send the end of the log")
        try:
            await future
        finally:
            timer.cancel()

    def stop(self, reason: str) -> None:
        """The connection is lost: tell those who wait."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            if not future.done():
                future.set_exception(LostError(reason, sent=True))


async def read_by_number(connection: Connection, stream: str, seqs: Sequence[int]) -> list[bytes | None]:
    """Contents of a stream's messages; ``None`` where there is none."""
    found: list[bytes | None] = [
        None if message is None else message.data for message in await connection.get_direct(stream, seqs)
    ]
    for at, content in enumerate(found):
        if content is None:
            # Any server may have answered, also one that is a little behind; the leader is not.
            found[at] = await _read_from_leader(connection, stream, seqs[at])
    return found


async def _read_from_leader(connection: Connection, stream: str, seq: int) -> bytes | None:
    try:
        answer = await connection.request(f"STREAM.MSG.GET.{stream}", {"seq": seq})
    except JetStreamError as error:
        if error.is_missing:
            return None
        raise
    return base64.b64decode(answer["message"].get("data", ""))


def _end_of(info: dict[str, Any]) -> End:
    state, now = info["state"], info.get("ts")
    return End(state["last_seq"], state["first_seq"], info["created"], None if now is None else _micros(now))


def _micros(text: str) -> int:
    """Microseconds since 1970 of a moment that has nanoseconds, of which trailing zeros are left out."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000 + int(fraction[:6].ljust(6, "0"))


def _place_of(reply: str) -> tuple[int, int]:
    """Number and moment of a message, from the subject for its acknowledgement: they end in
    ``STREAM.CONSUMER.DELIVERED.STREAM_SEQ.CONSUMER_SEQ.NANOSECONDS.PENDING``, and domains add tokens before or behind.
    """
    tokens = reply.split(".")
    first = 2 if len(tokens) < 11 else 4
    return int(tokens[first + 3]), int(tokens[first + 5]) // 1000
