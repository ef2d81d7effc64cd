"""Real servers of every kind, each started once, with an empty store for each test."""

from __future__ import annotations

import abc
import asyncio
import atexit
import functools
import os
import tempfile
import unittest.mock
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from tests.servers import nats, postgres
from tests.servers.clouds import NAMES as CLOUDS
from tests.servers.clouds import Cloud
from tests.servers.clouds import shared as shared_cloud
from tests.servers.process import Server, new_home
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisCluster, RedisServer

SECRET = "a secret of enough bytes for tests"


@functools.cache
def redis_server() -> RedisServer:
    """One server for the whole test run; it ends with it."""
    server = RedisServer(new_home("redis"))
    server.start()
    atexit.register(server.kill)
    return server


@functools.cache
def redis_cluster() -> RedisCluster:
    """One cluster for the whole test run; it ends with it."""
    cluster = RedisCluster(new_home("redis")).__enter__()
    atexit.register(cluster.__exit__, None, None, None)
    return cluster


class Clouds:
    """The three buckets' servers: each starts when it is first asked for, once for the whole test run."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        """What finds those that run, as a user's shell would have it."""

    def new_url(self, name: str) -> str:
        """An empty store on one of them."""
        cloud = shared_cloud(name)
        self.environment |= cloud.environment(cloud.port)
        os.environ.update(self.environment)  # until the test ends: see `environment`
        return cloud.new_url()


clouds = Clouds()


URLS: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda directory: f"sqlite:///{directory}/{uuid.uuid4().hex}.db",
    "file": lambda directory: f"file:///{directory}/{uuid.uuid4().hex}",
    "redis": lambda _: redis_server().url(uuid.uuid4().hex),
    "postgres": lambda _: postgres.shared_server().url(),
    "nats": lambda _: f"{nats.shared_server().url}?namespace={nats.new_namespace()}",
    "s3": lambda _: clouds.new_url("s3"),
    "azure": lambda _: clouds.new_url("azure"),
    "google": lambda _: clouds.new_url("gcs"),
    "redis-cluster": lambda _: redis_cluster().url(uuid.uuid4().hex),
    "nats-cluster": lambda _: f"{nats.shared_cluster().url}?namespace={nats.new_namespace()}",
}
"""By a backend's name: what gives the URL of an empty store."""


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """One secret for all processes, and the way to the clouds."""
    # What a test adds goes with it.
    with unittest.mock.patch.dict(os.environ, {"OMNIQ_SECRET": SECRET, **clouds.environment}):
        yield


@pytest.fixture(params=[name for name in URLS if name != "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind that several processes share."""
    return URLS[request.param](tmp_path)


class Restartable(abc.ABC):
    """A server that a test may take away, and give back with the same data.

    Attributes:
        url: An empty store on it.
        port: Where it listens.
        secret: A password of its URL's or its clients', which no message may say.
        repeats: Its client library does itself again what a lost connection broke off: the driver may never hear of it.
    """

    repeats: ClassVar[bool] = False

    def __init__(self, url: str, port: int, secret: str) -> None:
        self.url, self.port, self.secret = url, port, secret

    @abc.abstractmethod
    def through(self, port: int) -> str:
        """The same store, for clients that connect to another port; from now on, until the test ends."""

    @abc.abstractmethod
    async def kill(self) -> None:
        """Take it away, in the middle of whatever it does."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Give it back."""


class OwnServer(Restartable):
    """A server of the test's own, which is killed and started again.

    Args:
        url: An empty store on it.
        port: Where it listens.
        process: Keeps its data on a disk.
    """

    def __init__(self, url: str, port: int, process: Server) -> None:
        super().__init__(url, port, "hunter2")
        self._process = process

    def through(self, port: int) -> str:
        parts = urlsplit(self.url)
        user, _, _ = parts.netloc.rpartition("@")
        # Where the server knows no passwords, one is made up for those who are sent where it is not asked for.
        user = user or ("u:hunter2" if port == NOBODY else "")
        return self.url.replace(parts.netloc, f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}")

    async def kill(self) -> None:
        await asyncio.to_thread(self._process.kill)

    async def start(self) -> None:
        await asyncio.to_thread(self._process.start)


class CloudBehindProxy(Restartable):
    """A cloud's server behind a proxy that cuts and refuses connections.

    Their servers for tests keep all in memory. So none is killed: its clients see the same if the way to it is cut,
    except for what it was about to do, of which they don't know.

    Args:
        cloud: The server.
        proxy: Open.
    """

    repeats = True

    def __init__(self, cloud: Cloud, proxy: Proxy) -> None:
        super().__init__(cloud.new_url(), proxy.port, cloud.secret)
        self._cloud, self._proxy = cloud, proxy
        self.through(proxy.port)

    def through(self, port: int) -> str:
        os.environ.update(self._cloud.environment(port))  # until the test ends: see `environment`
        return self.url

    async def kill(self) -> None:
        self._proxy.refuses = True
        self._proxy.cut()

    async def start(self) -> None:
        self._proxy.refuses = False


NOBODY = 1
"""A port that nobody listens on."""


@contextmanager
def _redis(directory: Path) -> Iterator[OwnServer]:
    with RedisServer(directory, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield OwnServer(server.url(), server.port, server)


@contextmanager
def _postgres(directory: Path) -> Iterator[OwnServer]:
    with postgres.PostgresServer(directory) as server:
        yield OwnServer(server.url(), server.port, server)


@contextmanager
def _nats(directory: Path) -> Iterator[OwnServer]:
    with nats.NATS(directory) as server:
        yield OwnServer(server.url, server.port, server.server)


_OWN = {"redis": _redis, "postgres": _postgres, "nats": _nats}


@pytest.fixture(params=[*_OWN, *CLOUDS])
async def own_server(request: pytest.FixtureRequest) -> AsyncIterator[Restartable]:
    """A server of each kind that a test may take away."""
    if request.param in CLOUDS:
        cloud = shared_cloud(request.param)
        async with Proxy(cloud.port) as proxy:
            yield CloudBehindProxy(cloud, proxy)
        return
    # PostgreSQL's user has to reach its data.
    with tempfile.TemporaryDirectory(prefix="omniq-server-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        (home := Path(directory, "server")).mkdir()
        with _OWN[request.param](home) as server:
            yield server


@pytest.fixture
def store_url() -> str:
    """Where `make_app` makes apps unless told otherwise: nowhere that anybody looks."""
    return "memory://unused"
