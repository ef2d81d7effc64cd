"""A connection to NATS: requests to JetStream, and errors in OmniQ's words.

nats-py's own reconnecting is switched off: it would queue writes and send them at a moment that nobody chose. A
connection that is lost stays lost, everything that waits for an answer learns so at once, and the next call makes a new
one, under the policy that all stores share (`omniq.storage.breaker`).
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from ..errors import (
    ConfigError,
    StoreCorruptError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreTooOldError,
    StoreUnavailableError,
)
from ..masking import mask_text, mask_url

_is_namespace = re.compile(r"[A-Za-z0-9_-]{1,100}").fullmatch
OLDEST_SERVER = (2, 10)
"""Streams have metadata, where the schema's version lies, and the server says what time it is."""
FOREIGN_ERRORS: tuple[type[BaseException], ...] = (nats.errors.Error, OSError, ssl.SSLError, asyncio.TimeoutError)
CONNECT_SECONDS = 5
_PING_SECONDS = 20
_LATE_SECONDS = 0.5
_OUTGOING = 64 * 2**20
"""Bytes that may wait to be sent before sending blocks."""

_NO_SUCH_STREAM, _NO_SUCH_MESSAGE = 10059, 10037
_WRONG_LAST = {10071, 10164}
_FULL = {10023, 10047, 10077, 10122, 10131}  # resources, storage, bytes: of the server, the account, the stream
_NOT_ENABLED = {10076, 10039}


class JetStreamError(nats.errors.Error):
    """JetStream has answered with an error."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code, self.description = code, description

    def __str__(self) -> str:
        return f"JetStream error {self.code}: {self.description}"

    @property
    def is_missing(self) -> bool:
        """There is no such stream, or no such message."""
        return self.code in {_NO_SUCH_STREAM, _NO_SUCH_MESSAGE}

    @property
    def is_overtaken(self) -> bool:
        """What the message was to follow is no longer the last one."""
        return self.code in _WRONG_LAST


class LostError(nats.errors.Error):
    """The connection was lost; ``sent``: after the request may have left."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason, self.sent = reason, sent

    def __str__(self) -> str:
        return self.reason


class ServerTooOldError(nats.errors.Error):
    """The server lacks what OmniQ needs."""


def namespace_of(url: str) -> str:
    """The namespace that a URL names.

    Raises:
        ConfigError: It can't be one, or the URL has other parameters.
    """
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    for name in query.keys() - {"namespace"}:
        raise ConfigError(f"{mask_url(url)!r}: unknown parameter {name!r}, the only one is namespace")
    namespace = query.get("namespace", ["omniq"])[-1]
    if not _is_namespace(namespace):
        raise ConfigError(f"{namespace!r} can't be a namespace: it takes letters, digits, '_' and '-', up to 100")
    return namespace


def servers_of(url: str) -> list[str]:
    """The servers of a URL, which may name several: ``nats://user:password@one:4222,two:4222``."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    if not hosts.strip(","):
        raise ConfigError(f"{mask_url(url)!r} names no server: write nats://HOST:4222")
    return [urlunsplit((parts.scheme, f"{login}{at}{host}", "", "", "")) for host in hosts.split(",") if host]


def translate(error: BaseException, url: str) -> StoreError:
    """The client's error as OmniQ's user meets it."""
    if isinstance(error, LostError):
        return StoreUnavailableError(url, error.reason, sent=error.sent)
    if isinstance(error, ServerTooOldError):
        return StoreTooOldError(url, str(error))
    if isinstance(error, JetStreamError):
        return _translate_answer(error, url)
    text = mask_text(str(error) or type(error).__name__, url)
    if _is_denial(error):
        return StoreDeniedError(url, text)
    if isinstance(error, nats.errors.NoRespondersError):
        return _not_enabled(url)
    if isinstance(error, nats.errors.OutboundBufferLimitError | nats.errors.ConnectionClosedError):
        return StoreUnavailableError(url, text)
    if isinstance(error, OSError | asyncio.TimeoutError | nats.errors.Error):
        return StoreUnavailableError(url, text)
    return StoreError(url, text)


def _translate_answer(error: JetStreamError, url: str) -> StoreError:
    if error.code in _FULL or "maximum" in error.description:
        return StoreFullError(url, error.description)
    if error.code in _NOT_ENABLED:
        return _not_enabled(url)
    if error.code == _NO_SUCH_STREAM:
        return StoreCorruptError(url, "its stream is gone")
    if error.code in {503, 10008, 10009}:  # no leader just now, or the server is starting
        return StoreUnavailableError(url, error.description, sent=True)
    return StoreError(url, error.description)


def _is_denial(error: BaseException) -> bool:
    text = str(error).lower()
    return any(words in text for words in ("authoriz", "authentic", "permissions violation"))


def _not_enabled(url: str) -> StoreError:
    return StoreUnavailableError(url, "JetStream is not enabled there: start it with `nats-server -js`")


class Connection:
    """One connection, from opening to loss.

    Args:
        servers: One of them is connected to.
        timeout: Seconds that an answer may take; then the connection counts as lost.
        prefix: Of JetStream's API.
        options: For nats-py's `connect`.
        on_loss: Called once, when it is lost or closed.
    """

    def __init__(
        self, servers: list[str], *, timeout: float, prefix: str, options: dict[str, Any], on_loss: Callable[[], None]
    ) -> None:
        self._servers = servers
        self._timeout = timeout
        self._connect_seconds = min(timeout, CONNECT_SECONDS)
        self._prefix = prefix
        self._options = options
        self._on_loss = on_loss
        self._client = Client()
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        self._sent = 0
        self._inbox = self._client.new_inbox()
        self._last_error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self.is_lost = False

    async def open(self) -> None:
        """Connect, and subscribe to the answers."""
        try:
            await asyncio.wait_for(self._connect(), self._connect_seconds * (len(self._servers) + 1))
            self._check_version()
            await self._client.subscribe(
                f"{self._inbox}.*", cb=self._answered, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> None:
        try:
            await self._client.connect(
                self._servers, name="omniq", allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
                connect_timeout=self._connect_seconds,  # type: ignore[arg-type]  # any number does
                ping_interval=_PING_SECONDS, max_outstanding_pings=2,
                pending_size=_OUTGOING, error_cb=self._failed, closed_cb=self._closed, **self._options,
            )  # fmt: skip
        except (nats.errors.NoServersError, TimeoutError) as error:
            # What went wrong with each of several servers came to the callback.
            cause = self._last_error or error
            if isinstance(cause, TimeoutError):
                raise LostError(f"no answer within {self._connect_seconds:g} s", sent=False) from error
            raise cause from error

    def _check_version(self) -> None:
        version = self._client.connected_server_version
        if (version.major, version.minor) < OLDEST_SERVER:
            needed = ".".join(map(str, OLDEST_SERVER))
            raise ServerTooOldError(
                f"NATS {version.major}.{version.minor} runs there, and OmniQ needs {needed} or later"
            )

    async def close(self) -> None:
        """Let go of the connection, and tell those who wait for an answer."""
        self.lose("the connection was closed")
        self._drop_what_was_not_sent()
        await self._client.close()

    def _drop_what_was_not_sent(self) -> None:
        """Whoever asked for it was told that it failed; and the client would wait, for ever, until a server that takes
        nothing more has taken it.
        """
        client: Any = self._client
        client._pending, client._pending_data_size = [], 0  # noqa: SLF001 -- the client has no public way to give up
        writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001 -- see above
        if writer is not None:
            writer.transport.abort()

    def lose(self, reason: str) -> None:
        """Give the connection up."""
        self._end(lambda: LostError(reason, sent=True))

    def _end(self, error: Callable[[], Exception]) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        answers, self._answers = self._answers, {}
        for future in answers.values():
            if not future.done():
                future.set_exception(error())
                future.exception()  # of several that belong together, one is asked
        self._on_loss()

    async def _failed(self, error: Exception) -> None:
        self._last_error = error
        if _is_denial(error):
            # The server says so beside the answers, and the one to the request in question never comes.
            self._end(lambda: nats.errors.Error(str(error)))

    async def _closed(self) -> None:
        self.lose(f"the connection was lost: {self._last_error or 'the server has closed it'}")

    @property
    def largest(self) -> int:
        """The largest message that the server takes."""
        return self._client.max_payload

    # --- requests ---

    async def send(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None
    ) -> asyncio.Future[Msg]:
        """Send a request; the future that is given becomes the answer, or a `LostError`."""
        if self.is_lost:
            raise LostError("the connection was lost", sent=False)
        self._sent += 1
        token = str(self._sent)
        future: asyncio.Future[Msg] = self._loop.create_future()
        self._answers[token] = future
        timer = self._loop.call_later(self._timeout, self._overdue, future, self._loop.time() + self._timeout)
        future.add_done_callback(lambda _: timer.cancel())
        try:
            await self._client.publish(subject, payload, f"{self._inbox}.{token}", headers)
        except BaseException:
            self._answers.pop(token, None)
            future.cancel()
            raise
        return future

    async def request(self, name: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's API.

        Raises:
            JetStreamError: It has answered with an error.
        """
        payload = b"" if content is None else json.dumps(content).encode()
        return answer_of(await (await self.send(f"{self._prefix}.{name}", payload)))

    async def get_direct(self, stream: str, seqs: Sequence[int]) -> list[Msg | None]:
        """Messages of a stream, by their numbers, from any server that has them."""
        name = f"{self._prefix}.DIRECT.GET.{stream}"
        sent = [await self.send(name, b'{"seq": %d}' % seq) for seq in seqs]
        answers = [await each for each in sent]
        return [None if _status(answer) in {"404", "408"} else answer for answer in answers]

    async def subscribe(self, subject: str, receive: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Have messages of a subject given to a coroutine function."""
        return await self._client.subscribe(subject, cb=receive, pending_msgs_limit=0, pending_bytes_limit=0)

    async def publish(self, subject: str) -> None:
        """Send an empty message that wants no answer."""
        await self._client.publish(subject)

    def new_inbox(self) -> str:
        """A subject that nobody else uses."""
        return self._client.new_inbox()

    async def _answered(self, message: Msg) -> None:
        future = self._answers.pop(message.subject.rpartition(".")[2], None)
        if future is None or future.done():
            return  # nobody waits any more
        if _status(message) == "503":
            future.set_exception(nats.errors.NoRespondersError())
        else:
            future.set_result(message)

    def _overdue(self, answer: asyncio.Future[Msg], deadline: float) -> None:
        if answer.done():
            return
        if self._loop.time() > deadline + _LATE_SECONDS:
            # The loop itself was held up: the answer may be there, and nobody has had the time to look.
            self._loop.call_later(_LATE_SECONDS, self._overdue, answer, self._loop.time() + _LATE_SECONDS)
        else:
            self.lose(f"no answer within {self._timeout:g} s")


def answer_of(message: Msg) -> dict[str, Any]:
    """What JetStream has answered.

    Raises:
        JetStreamError: It is an error.
    """
    answer: dict[str, Any] = json.loads(message.data)
    if "error" in answer:
        error = answer["error"]
        raise JetStreamError(error.get("err_code", error.get("code", 0)), error.get("description", ""))
    return answer


def _status(message: Msg) -> str | None:
    return message.headers.get("Status") if message.headers else None
