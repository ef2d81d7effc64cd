"""The conformance suite on Azure Blob Storage, as Azurite serves it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient
from hypothesis import settings
from omniq.backends.azure import AzureDriver
from omniq.models.record import Record
from omniq.testing import DriverConformance

from tests.servers.azure import AzureServer
from tests.servers.raw_objects import Objects, RawStore

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"

pytestmark = pytest.mark.timeout(330)


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with AzureServer(tmp_path_factory.mktemp("azure")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv(_CONNECTION, server.connection_string())
        with _container() as container:
            container.create_container()
        yield server


def _container() -> ContainerClient:
    return ContainerClient.from_connection_string(os.environ[_CONNECTION], AzureServer.container)


def _prefix(url: str) -> str:
    return f"conformance/{url.partition('namespace=')[2]}/"


def _objects(url: str) -> Objects:
    prefix = _prefix(url)
    with _container() as container:
        return {
            name.removeprefix(prefix): container.download_blob(name).readall()
            for name in container.list_blob_names(name_starts_with=prefix)
        }


class TestAzure(DriverConformance):
    driver_class = AzureDriver
    # Every commit is a request, and the races are hundreds: on a busy machine they take their time.
    time_limit = 300.0
    # A request takes some milliseconds: fewer sequences, of which files see enough.
    model_settings = settings(DriverConformance.model_settings, max_examples=5)

    def url(self, tmp_path: Path) -> str:
        return f"az://{AzureServer.container}/conformance?namespace={uuid4().hex}"

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        return RawStore(_objects(url)).record(kind, key)

    async def write_raw(self, url: str, record: Record) -> None:
        name, data = RawStore(_objects(url)).commit_of(record)
        with _container() as container:
            container.upload_blob(_prefix(url) + name, data)

    async def discard(self, url: str) -> None:
        with _container() as container:
            for name in container.list_blob_names(name_starts_with=_prefix(url)):
                container.delete_blob(name)

    def unusable_url(self, tmp_path: Path) -> str:
        return "az://there-is-none/store"
