"""The conformance suite on Google Cloud Storage, as fake-gcs-server serves it."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from hypothesis import settings
from omniq.backends.gcs import GCSDriver
from omniq.models.record import Record
from omniq.testing import DriverConformance

from tests.servers.gcs import GCSServer
from tests.servers.raw_objects import Objects, RawStore

_EMULATOR = "STORAGE_EMULATOR_HOST"

pytestmark = pytest.mark.timeout(330)


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with GCSServer(tmp_path_factory.mktemp("gcs")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(_EMULATOR, server.endpoint)
        yield server


def _call(method: str, path: str, data: bytes | None = None, content_type: str = "") -> bytes:
    headers = {"Content-Type": content_type} if content_type else {}
    request = urllib.request.Request(os.environ[_EMULATOR] + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def _prefix(url: str) -> str:
    return f"conformance/{url.partition('namespace=')[2]}/"


def _object(key: str) -> str:
    return f"/storage/v1/b/{GCSServer.bucket}/o/{quote(key, safe='')}"


def _keys(url: str) -> list[str]:
    listed = json.loads(_call("GET", f"/storage/v1/b/{GCSServer.bucket}/o?prefix={_prefix(url)}&maxResults=100000"))
    assert "nextPageToken" not in listed
    return [each["name"] for each in listed.get("items", ())]


def _objects(url: str) -> Objects:
    return {key.removeprefix(_prefix(url)): _call("GET", f"{_object(key)}?alt=media") for key in _keys(url)}


class TestGCS(DriverConformance):
    driver_class = GCSDriver
    # Every commit is a request, and the races are hundreds: on a busy machine they take their time.
    time_limit = 300.0
    # A request takes some milliseconds: fewer sequences, of which files see enough.
    model_settings = settings(DriverConformance.model_settings, max_examples=5)

    def url(self, tmp_path: Path) -> str:
        return f"gs://{GCSServer.bucket}/conformance?namespace={uuid4().hex}"

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        return RawStore(_objects(url)).record(kind, key)

    async def write_raw(self, url: str, record: Record) -> None:
        name, data = RawStore(_objects(url)).commit_of(record)
        key = quote(_prefix(url) + name, safe="")
        path = f"/upload/storage/v1/b/{GCSServer.bucket}/o?uploadType=media&name={key}"
        _call("POST", path, data, "application/octet-stream")

    async def discard(self, url: str) -> None:
        for key in _keys(url):
            _call("DELETE", _object(key))

    def unusable_url(self, tmp_path: Path) -> str:
        return "gs://there-is-none/store"
