"""Azure and Google Cloud Storage: what is particular to their adapters. What they share with S3 is tested there."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from base64 import b64encode
from collections.abc import Iterator

import pytest
from omniq import AsyncOmniQ
from omniq.backends.azure import AzureDriver
from omniq.backends.gcs import GCSDriver
from omniq.backends.objects_bucket import BucketDriver
from omniq.clock import SECOND, system_clock
from omniq.errors import ConfigError, StoreDeniedError, StoreUnavailableError
from omniq.models.record import Insert, Record

from tests.servers.azure import ACCOUNT, KEY, AzureServer
from tests.servers.gcs import GCSServer
from tests.servers.process import free_port


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with AzureServer(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    with GCSServer(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture
def clouds(azure: AzureServer, gcs: GCSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure.connection_string())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.endpoint)


def _record(key: str) -> Record:
    now = system_clock()
    return Record("task", key, "default", "pending", 0, now, None, 0, 1, now, now, None, b"body")


both = pytest.mark.parametrize(("driver_class", "scheme"), [(AzureDriver, "az"), (GCSDriver, "gs")])


@both
@pytest.mark.usefixtures("clouds")
async def test_missing_bucket_is_created_only_if_that_is_asked_for(
    driver_class: type[BucketDriver], scheme: str
) -> None:
    url = f"{scheme}://there-is-none-yet/store"
    with pytest.raises(StoreUnavailableError) as caught:
        await driver_class(url).open()
    assert "there is no bucket 'there-is-none-yet'" in str(caught.value)
    assert "?create=true" in str(caught.value)
    async with driver_class(f"{url}?create=true") as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]
    async with driver_class(url) as driver:
        assert await driver.count("task") == {("default", "pending"): 1}


@both
@pytest.mark.usefixtures("clouds")
async def test_server_that_is_not_there_is_one_clear_error(
    driver_class: type[BucketDriver], scheme: str, azure: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure.connection_string(port=port))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    with pytest.raises(StoreUnavailableError) as caught:
        await driver_class(f"{scheme}://tests/store").open()
    assert "can't be reached" in str(caught.value)
    assert "\n" not in str(caught.value)


@both
@pytest.mark.usefixtures("clouds")
async def test_server_s_clock_counts(
    driver_class: type[BucketDriver], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right() - 90 * 1_000_000_000)
    async with driver_class(f"{scheme}://clocks/store?create=true") as driver:
        assert abs(driver.clock() - right() // 1000) < 2 * SECOND


async def test_wrong_key_is_refused(azure: AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = b64encode(b"hunter2" * 9).decode()
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azure.connection_string(key=wrong))
    with pytest.raises(StoreDeniedError) as caught:
        await AzureDriver("az://tests/store").open()
    assert "\n" not in str(caught.value)
    assert wrong not in str(caught.value)


async def test_credentials_may_be_options(azure: AzureServer, gcs: GCSServer) -> None:
    options = {"connection_string": azure.connection_string(), "account_name": ACCOUNT, "account_key": KEY}
    async with AzureDriver("az://options/store?create=true", options=options) as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]
    options = {"endpoint_url": gcs.endpoint, "token": "anon"}
    async with GCSDriver("gs://options/store?create=true", options=options) as other:
        assert await other.write([Insert(_record("a"))]) == [True]


@pytest.mark.usefixtures("clouds")
async def test_azure_s_client_does_not_report_each_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with AzureDriver("az://logged/store?create=true") as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]
    assert caplog.text == ""


@pytest.mark.usefixtures("clouds")
async def test_azure_s_requests_go_through_the_proxy_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailableError, match="can't be reached"):
        await AzureDriver("az://proxied/store?create=true").open()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with AzureDriver("az://proxied/store?create=true") as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]


@pytest.mark.usefixtures("clouds")
async def test_azure_s_requests_need_no_threads_where_no_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    async with AzureDriver("az://direct/store?create=true") as driver:
        assert await driver.write([Insert(_record("a"))]) == [True]
        threads = asyncio.get_running_loop()._default_executor  # type: ignore[attr-defined]  # the only way to see it
        assert threads is None


@pytest.mark.parametrize(
    ("url", "bucket", "prefix", "account"),
    [
        ("az://container/some/path", "container", "some/path/omniq/", None),
        ("az://container?namespace=two", "container", "two/", None),
        ("abfs://container@mine.dfs.core.windows.net/path", "container", "path/omniq/", "mine"),
    ],
)
def test_azure_s_urls(url: str, bucket: str, prefix: str, account: str | None) -> None:
    store = AzureDriver(url).make_store()
    assert (store.bucket, store.prefix) == (bucket, prefix)  # type: ignore[attr-defined]  # an ObjectStore, to mypy
    assert store.options.get("account_name") == account  # type: ignore[attr-defined]  # see above


# --- what can't be ---


@pytest.mark.parametrize("url", ["s3://", "az:///only/a/path", "gs:///only/a/path"])
async def test_url_without_a_bucket_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="names no bucket: write [a-z0-9]+://"):
        await AsyncOmniQ(url, secret="a secret of enough bytes").open()


async def test_azure_without_credentials_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(StoreDeniedError, match="refuses this user .*connection_string or account_name") as caught:
        await AzureDriver("az://container/store").open()
    assert "\n" not in str(caught.value)
