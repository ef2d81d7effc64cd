"""An HTTP proxy before a cloud's server, that counts requests, and goes wrong when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web
from yarl import URL

_LARGEST = 2**30
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
_ADDED = ("Content-Type", "User-Agent", "Accept", "Accept-Encoding")
_CODES = {
    "s3": {"409": "ConditionalRequestConflict", "412": "PreconditionFailed", "503": "SlowDown"},
    "azure": {"409": "BlobAlreadyExists", "412": "ConditionNotMet", "503": "ServerBusy"},
    "gcs": {"409": "conflict", "412": "conditionNotMet", "503": "backendError"},
}


class FaultyProxy:
    """Passes requests on, one for one.

    Args:
        cloud: ``"s3"``, ``"azure"`` or ``"gcs"``: errors are made up in its words.
        port: Where its server listens.

    Attributes:
        port: Where clients connect; set once it is open.
        most: How many requests were under way at once, at most.
    """

    def __init__(self, cloud: str, port: int) -> None:
        self._codes = _CODES[cloud]
        self._server = URL(f"http://127.0.0.1:{port}")
        self._counts: Counter[str] = Counter()
        self._faults: list[str] = []
        self.port = 0
        self.most = self._under_way = 0

    async def __aenter__(self) -> Self:
        # Nothing is added: Azure signs what a request says.
        self._client = aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=_ADDED)
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_route("*", "/{path:.*}", self._answer)
        # A client that gives up ends what it waited for.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._client.close()

    def go_wrong(self, *faults: str) -> None:
        """Answer the next creations of objects wrongly, one fault each.

        Args:
            *faults: ``"503"``: refuse it; ``"409"``, ``"412"`` likewise; ``"503 after"``: carry it out and say that,
                ``"409 after"``, ``"412 after"`` likewise; ``"late"``: carry it out and hang up; ``"never"``: carry it
                out and never answer.
        """
        self._faults = list(faults)

    @property
    def is_done(self) -> bool:
        """All has gone wrong that was to."""
        return not self._faults

    def requests(self) -> Counter[str]:
        """How many requests of each kind there were since the last time: ``PUT``, ``GET``, ``LIST``, ``DELETE``.

        And ``ASK`` for each that asks whether it may send its body, and waits for the answer: that takes as long.
        """
        counts, self._counts = self._counts, Counter()
        return counts

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return await self._answer_one(request)
        finally:
            self._under_way -= 1

    async def _answer_one(self, request: web.Request) -> web.StreamResponse:
        kind = _kind_of(request)
        self._counts[kind] += 1
        if "Expect" in request.headers:
            self._counts["ASK"] += 1
        fault = self._faults.pop(0) if kind == "PUT" and self._faults else ""
        status, _, after = fault.partition(" ")
        if status not in self._codes or after:
            answer = await self._passed_on(request)
        if status in self._codes:
            return self._error(status)
        if fault == "late":
            assert request.transport is not None
            request.transport.abort()
        elif fault == "never":
            await asyncio.Event().wait()
        return answer

    async def _passed_on(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = self._server.join(URL(request.raw_path, encoded=True))
        body = await request.read()
        async with self._client.request(request.method, url, headers=headers, data=body or None) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    def _error(self, status: str) -> web.Response:
        code, message = self._codes[status], "told to go wrong"
        if self._codes is _CODES["gcs"]:
            text = json.dumps({"error": {"code": int(status), "message": message, "errors": [{"reason": code}]}})
            return web.Response(status=int(status), text=text, content_type="application/json")
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        headers = {"x-ms-error-code": code}
        return web.Response(status=int(status), text=text, headers=headers, content_type="application/xml")


def _kind_of(request: web.Request) -> str:
    """The same word for the same thing, whatever a cloud's protocol calls it."""
    if request.path.startswith("/upload/"):
        return "PUT"
    if "list-type" in request.query or request.query.get("comp") == "list":
        return "LIST"
    if request.method == "GET" and request.path.endswith("/o"):
        return "LIST"
    return "DELETE" if "delete" in request.query else request.method
