"""The conformance suite on Azure Blob Storage, as Azurite serves it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient
from hypothesis import settings
from omniq.backends.azure import AzureDriver
from omniq.models.record import Record
from omniq.testing import DriverConformance

from tests.servers.azure import AzureServer
from tests.servers.raw_objects import Objects, RawStore

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
_PREFIX = "conformance/omniq/"

pytestmark = pytest.mark.timeout(330)


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with AzureServer(tmp_path_factory.mktemp("azure")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(_CONNECTION, server.connection_string())
        yield server


@functools.cache
def _service() -> BlobServiceClient:
    return BlobServiceClient.from_connection_string(os.environ[_CONNECTION])


def _container(url: str) -> ContainerClient:
    return _service().get_container_client(urlsplit(url).netloc)


def _objects(url: str) -> Objects:
    container = _container(url)
    return {
        name.removeprefix(_PREFIX): container.download_blob(name).readall()
        for name in container.list_blob_names(name_starts_with=_PREFIX)
    }


class TestAzure(DriverConformance):
    driver_class = AzureDriver
    # Every commit is a request, and the races are hundreds: on a busy machine they take their time.
    time_limit = 300.0
    # A request takes some milliseconds: fewer sequences, of which files see enough.
    model_settings = settings(DriverConformance.model_settings, max_examples=5)

    def url(self, tmp_path: Path) -> str:
        # A container of its own: to delete one, with all that is in it, is one request, which many blobs would not be.
        url = f"az://{uuid4().hex}/conformance"
        _container(url).create_container()
        return url

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        return RawStore(_objects(url)).record(kind, key)

    async def write_raw(self, url: str, record: Record) -> None:
        name, data = RawStore(_objects(url)).commit_of(record)
        _container(url).upload_blob(_PREFIX + name, data)

    async def discard(self, url: str) -> None:
        _container(url).delete_container()

    def unusable_url(self, tmp_path: Path) -> str:
        return "az://there-is-none/store"
