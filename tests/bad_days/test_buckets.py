"""S3, Azure and Google Cloud Storage behind networks and servers that fail: the same for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from omniq import AsyncOmniQ
from omniq.backends import azure, gcs, s3
from omniq.clock import SECOND, system_clock
from omniq.models.event import TaskEvent
from omniq.models.record import Append, EventFilter, Filter, Insert, Record, Replace

from tests.servers import clouds
from tests.servers.clouds import Cloud
from tests.servers.faults import FaultyProxy
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


# --- answers that are wrong, or never come ---


@pytest.fixture
async def proxy(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyProxy]:
    """On the way to the server; who waits for an answer that never comes gives up after a second."""
    monkeypatch.setitem(s3._CONFIG, "read_timeout", 1)
    monkeypatch.setitem(azure._CALL, "read_timeout", 1)
    monkeypatch.setattr(gcs, "READ_SECONDS", 1)
    async with FaultyProxy(cloud.name, cloud.port) as proxy:
        _lead_to(cloud, proxy.port, monkeypatch)
        yield proxy


@pytest.mark.usefixtures("proxy")
async def test_nothing_goes_on_when_a_call_has_failed(cloud: Cloud) -> None:
    """A request that comes after its store was closed would open a connection that nobody closes."""
    store = cloud.driver_class(cloud.new_url()).make_store()
    await store.open(create=True)
    names, answered = [str(n) for n in range(100)], list[str]()

    async def ask(name: str) -> None:
        await store.get(name)
        answered.append(name)
        if len(answered) == 3:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        await store.each(names, ask)
    so_far = len(answered)
    await store.close()
    await asyncio.sleep(0.2)
    assert len(answered) == so_far < len(names)


@pytest.fixture
def store_url() -> str:
    """Where `make_app` makes apps unless told otherwise: nowhere that anybody looks."""
    return "memory://unused"


def _record(key: str) -> Record:
    now = system_clock()
    return Record("task", key, "default", "pending", 0, now, None, 0, 1, now, now, None, b"body")


FAULTS = (
    ["503"], ["503 after"], ["409"], ["409 after"], ["412"], ["412 after"], ["late"], ["never"], ["503", "late"],
    ["late", "503 after", "412"],
)  # fmt: skip


async def test_client_leaves_it_to_the_driver_to_try_again(cloud: Cloud, proxy: FaultyProxy) -> None:
    driver = cloud.driver_class(cloud.new_url())
    store = driver.make_store()
    await store.open(create=True)
    proxy.requests()
    proxy.go_wrong("503")
    with pytest.raises(driver.foreign_errors):
        await store.create("a", b"")
    assert proxy.requests() == {"PUT": 1}, "it was tried again, after a pause of its own"
    await store.close()


@pytest.mark.parametrize("faults", FAULTS, ids=", ".join)
async def test_write_that_goes_wrong_on_its_way_is_done_once(
    cloud: Cloud, proxy: FaultyProxy, faults: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    url = cloud.new_url()
    # By another name, so that nothing in memory is shared.
    async with cloud.driver_class(url) as driver, cloud.driver_class(url.replace("/store?", "/store/?")) as other:
        assert driver._replica is not other._replica
        assert await driver.write([Insert(_record("first"))]) == [True]
        proxy.go_wrong(*faults)
        assert await driver.write([Insert(_record("a")), Append((TaskEvent(1, "task.enqueued", "a"),))]) == [True, True]
        assert proxy.is_done
        proxy.go_wrong(*faults)
        held = await driver.claim("task", None, "w", 2, 30 * SECOND)
        assert [(record.version, record.claims, record.owner) for record in held] == [(2, 1, "w")] * 2
        assert proxy.is_done
        proxy.go_wrong(*faults)
        done = [Replace(replace(each, state="done", due_at=None), each) for each in held]
        assert await driver.write(done) == [True, True]
        assert proxy.is_done
        for each in (driver, other):
            page = await each.scan(Filter(kind="task"))
            assert sorted((r.key, r.version, r.state) for r in page.records) == [("a", 3, "done"), ("first", 3, "done")]
            assert (await each.query(EventFilter()))["task_id"] == ["a"]
    assert caplog.text == ""


async def test_worker_works_through_all_that_goes_wrong(
    cloud: Cloud, proxy: FaultyProxy, make_app: Any, until: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app: AsyncOmniQ = make_app(cloud.new_url(), secret="a secret of enough bytes")
    await app.open()

    @app.task(max_retries=0)
    async def square(n: int) -> int:
        await asyncio.sleep(0.001)
        return n * n

    handles = []
    async with app.workers(concurrency=5):
        for faults in FAULTS:
            proxy.go_wrong(*faults)
            handles += [await square.enqueue(len(handles) + n) for n in range(5)]
            await until(lambda: proxy.is_done)
        assert await app.group(handles) == [n * n for n in range(len(handles))]
    assert (await app.stats()).totals == {"succeeded": len(handles)}
    for kind in ("task.started", "task.succeeded"):  # a claim whose answer was lost counts as well
        ids = (await app.events(types=kind))["task_id"].to_list()
        assert Counter(ids) == Counter(handle.id for handle in handles), kind
    assert "Traceback" not in caplog.text
    assert [record for record in caplog.records if record.name == "asyncio" or record.exc_info] == []
