"""Google's credentials are found as its libraries find them, and the token that they give goes along."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from omniq.backends.gcs import GCSDriver

from tests.servers.gcs import GCSServer

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class _Tokens(BaseHTTPRequestHandler):
    """Gives a token to whoever asks with a signed claim, as a service account does."""

    grants: list[str] = []  # noqa: RUF012 -- the class is made anew for each server

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.grants.append(asked["grant_type"][0])
        answer = json.dumps({"access_token": "the-token", "expires_in": 3600, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name in the standard library
        pass


@pytest.fixture
def tokens() -> Iterator[ThreadingHTTPServer]:
    handler = type("_TheseTokens", (_Tokens,), {"grants": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _service_account(path: Path, port: int) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    about = {
        "type": "service_account", "project_id": "tests", "private_key_id": "1", "private_key": pem, "client_id": "1",
        "client_email": "worker@tests.iam.gserviceaccount.com", "token_uri": f"http://127.0.0.1:{port}/token",
    }  # fmt: skip
    path.write_text(json.dumps(about))


async def test_service_account_named_by_the_environment(
    tokens: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _service_account(tmp_path / "account.json", tokens.server_port)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)  # which would mean to ask for no credentials
    with GCSServer(tmp_path) as gcs:
        driver = GCSDriver("gs://tests/store", options={"endpoint_url": gcs.endpoint})
        async with driver:
            assert await driver.count("task") == {}
            assert driver._store._files.credentials.credentials.token == "the-token"
    assert set(tokens.RequestHandlerClass.grants) == {_GRANT}
