"""S3, Azure and Google Cloud Storage behind networks and servers that fail: the same for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

from tests.servers import clouds
from tests.servers.clouds import Cloud
from tests.servers.proxy import Proxy


@pytest.fixture(params=clouds.NAMES)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """A server of each kind."""
    return clouds.shared(request.param)


def _lead_to(cloud: Cloud, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment(port).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("size", [10, 200_000])
async def test_connection_that_ends_while_a_body_is_sent_is_the_caller_s_error_and_nobody_else_s(
    cloud: Cloud, size: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Proxy(cloud.port) as proxy:
        _lead_to(cloud, proxy.port, monkeypatch)
        driver = cloud.driver_class(cloud.new_url())
        store = driver.make_store()
        await store.open(create=True)
        # How many turns of the loop lie between the cut and the moment when the client notices is the client's affair.
        for turns in range(8):
            await store.names("")  # so that there is a connection
            proxy.cut()
            for _ in range(turns):
                await asyncio.sleep(0)
            with contextlib.suppress(*driver.foreign_errors):
                await store.create(f"{turns}", b"x" * size)
            gc.collect()  # of a task whose error nobody has asked for, asyncio tells when it goes
        assert await store.create("when all is well", b"") is True
        await store.close()
    assert caplog.text == ""
