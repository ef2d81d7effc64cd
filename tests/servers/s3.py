"""An S3 server for the tests: moto, in a process of its own, which answers one request at a time.

moto looks whether an object is there and puts it then, without a lock: served one by one, its conditional writes hold.
The process can be told to go wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aiohttp import web
from botocore.httpsession import get_cert_path

from .process import Server, accepts, free_port

_CONTROL = "/_control"
ACCESS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Server(Server):
    """A server with one bucket, ``tests``.

    Args:
        directory: For its log.
    """

    bucket = "tests"

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "tests.servers.s3", str(self.port), self.bucket]
        self._authority = directory / "authority.pem"
        root = Path(__file__).parents[2]
        super().__init__(
            command,
            log=directory / "s3.log",
            ready=self._has_bucket,
            environment={**ACCESS, "PYTHONPATH": str(root)},
        )

    def _has_bucket(self) -> bool:
        if not accepts(self.port):
            return False
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.endpoint}/{self.bucket}", timeout=30):
            return True
        return False

    @property
    def environment_of_clients(self) -> dict[str, str]:
        """What finds the server and may use it.

        Each client reads all authorities that it is told of, which is half of what it takes to make one. Nothing is
        encrypted here: so it is told of a single one.
        """
        if not self._authority.exists():
            first, end, _ = Path(get_cert_path(verify=True)).read_text().partition("-----END CERTIFICATE-----")
            self._authority.write_text(f"{first}{end}\n")
        return {**ACCESS, "AWS_ENDPOINT_URL": self.endpoint, "AWS_CA_BUNDLE": str(self._authority)}

    def go_wrong(self, *faults: str, matching: str = "") -> None:
        """Answer the next requests with a matching method and path wrongly, one fault each.

        Args:
            *faults: ``"503"``: refuse it; ``"403"`` likewise; ``"late"``: carry it out and hang up without an answer;
                ``"unconditional"``: carry it out whatever is there already.
            matching: A part of ``METHOD /path``.
        """
        command = json.dumps({"faults": list(faults), "matching": matching}).encode()
        request = urllib.request.Request(self.endpoint + _CONTROL, command, method="POST")
        urllib.request.urlopen(request, timeout=30).close()


# --- inside the process ---

_CODES = {"503": "SlowDown", "403": "AccessDenied"}


class _OneByOne:
    """Serves a WSGI application on an event loop: one request after the other, over connections that stay."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._faults: list[str] = []
        self._matching = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == _CONTROL:
            command = json.loads(body)
            self._faults, self._matching = command["faults"], command["matching"]
            return web.Response()
        fault = ""
        if self._faults and self._matching in f"{request.method} {request.path}":
            fault = self._faults.pop(0)
        if fault not in _CODES:
            answer = self._call(request, body, conditional=fault != "unconditional")
        if fault == "late":
            assert request.transport is not None
            request.transport.abort()
        elif fault in _CODES:
            xml = f"<Error><Code>{_CODES[fault]}</Code><Message>told to go wrong</Message></Error>"
            return web.Response(status=int(fault), body=xml.encode(), content_type="application/xml")
        return answer

    def _call(self, request: web.Request, body: bytes, *, conditional: bool) -> web.Response:
        environ = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": request.path,
            "RAW_URI": request.raw_path,
            "QUERY_STRING": request.query_string if "?" not in request.raw_path else request.raw_path.partition("?")[2],
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": request.host.rpartition(":")[2],
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            if not conditional and name == "If-None-Match":
                continue
            if name not in ("Content-Type", "Content-Length", "Transfer-Encoding"):
                environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        started: list[Any] = []
        content = b"".join(self._app(environ, lambda *start: started.extend(start)))
        left_out = ("Connection",) if request.method == "HEAD" else ("Connection", "Content-Length")
        headers = [(name, value) for name, value in started[1] if name not in left_out]
        return web.Response(status=int(started[0][:3]), headers=headers, body=content)


async def _serve(port: int, bucket: str) -> None:
    from moto.moto_server.werkzeug_app import create_backend_app

    moto = create_backend_app("s3")
    moto.debug = False  # a tenth of a request's time goes into help for its developers
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", _OneByOne(moto).answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    import boto3

    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
    await asyncio.to_thread(client.create_bucket, Bucket=bucket)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2]))
