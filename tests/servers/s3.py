"""An S3 server for the tests: moto, in a process of its own, which answers one request at a time.

moto looks whether an object is there and puts it then, without a lock: served one by one, its conditional writes hold.
The process counts requests, and can be told to go wrong.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

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
        root = Path(__file__).parents[2]
        super().__init__(
            command,
            log=directory / "s3.log",
            ready=lambda: accepts(self.port),
            environment={**ACCESS, "PYTHONPATH": str(root)},
        )

    @property
    def environment_of_clients(self) -> dict[str, str]:
        """What finds the server and may use it."""
        return {**ACCESS, "AWS_ENDPOINT_URL": self.endpoint}

    def go_wrong(self, *faults: str, matching: str = "") -> None:
        """Answer the next requests with a matching method and path wrongly, one fault each.

        Args:
            *faults: ``"503"``: refuse it; ``"409"``, ``"403"`` likewise; ``"late"``: carry it out and hang up without an
                answer; ``"412 after"``: carry it out and say that it failed.
            matching: A part of ``METHOD /path``.
        """
        self._control({"faults": list(faults), "matching": matching})

    def requests(self) -> Counter[str]:
        """How many requests of each kind there were since the last time."""
        return Counter(self._control({}))

    def _control(self, command: dict[str, Any]) -> Any:
        request = urllib.request.Request(self.endpoint + _CONTROL, json.dumps(command).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


# --- inside the process ---

_Environ = dict[str, Any]
_StartResponse = Callable[..., Any]
_App = Callable[[_Environ, _StartResponse], Iterable[bytes]]

_CODES = {"503": "SlowDown", "409": "ConditionalRequestConflict", "403": "AccessDenied", "412 after": "PreconditionFailed"}


class _OneByOne:
    """An application that answers one request at a time."""

    def __init__(self, app: _App) -> None:
        self._app = app
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._faults: list[str] = []
        self._matching = ""

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == _CONTROL:
            return self._control(environ, start_response)
        with self._lock:
            what = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
            self._counts[_kind_of(environ)] += 1
            fault = self._faults.pop(0) if self._faults and self._matching in what else ""
            body: list[bytes] = []
            if fault in ("", "late", "412 after"):
                body = list(self._app(environ, start_response if not fault else lambda *_: lambda _: None))
        if fault == "late":
            environ["werkzeug.socket"].close()
            raise ConnectionError("told to hang up")
        if fault:
            xml = f"<Error><Code>{_CODES[fault]}</Code><Message>told to go wrong</Message></Error>".encode()
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(xml)))]
            start_response(f"{fault[:3]} told to go wrong", headers)
            return [xml]
        return body

    def _control(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        command = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with self._lock:
            counts, self._counts = self._counts, Counter()
            if "faults" in command:
                self._faults, self._matching = command["faults"], command["matching"]
        answer = json.dumps(counts).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]


def _kind_of(environ: Mapping[str, Any]) -> str:
    method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
    return "LIST" if "list-type" in query else "DELETE" if "delete" in query else method


def _serve(port: int, bucket: str) -> None:
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections stay

        def log_request(self, *_: object) -> None:
            pass

    app = _OneByOne(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=Handler)
    import threading

    threading.Thread(target=server.serve_forever, daemon=True).start()
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket=bucket)
    while True:
        time.sleep(3600)


def scratch_directory() -> Path:
    """A directory for a server's log."""
    return Path(tempfile.mkdtemp(prefix="omniq-s3-"))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2])
