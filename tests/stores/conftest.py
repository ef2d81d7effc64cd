"""Real servers of every kind, each started once, with an empty store for each test."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
import unittest.mock
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import nats, postgres
from tests.servers.azure import AzureServer
from tests.servers.gcs import GCSServer
from tests.servers.process import Server, new_home
from tests.servers.redis import RedisCluster, RedisServer
from tests.servers.s3 import S3Server

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

    @functools.cached_property
    def s3(self) -> str:
        """A bucket."""
        server = S3Server(new_home("s3"))
        self._start(server)
        self._export(**server.environment_of_clients)
        return f"s3://{server.bucket}"

    @functools.cached_property
    def azure(self) -> str:
        """A container; its URL has it made."""
        server = AzureServer(new_home("azure"))
        self._start(server)
        self._export(AZURE_STORAGE_CONNECTION_STRING=server.connection_string())
        return f"az://{server.container}"

    @functools.cached_property
    def google(self) -> str:
        """A bucket."""
        server = GCSServer(new_home("gcs"))
        self._start(server)
        self._export(STORAGE_EMULATOR_HOST=server.endpoint)
        return f"gs://{server.bucket}"

    def _start(self, server: Server) -> None:
        server.start()
        atexit.register(server.kill)

    def _export(self, **variables: str) -> None:
        self.environment |= variables
        os.environ.update(variables)  # until the test ends: see `environment`


clouds = Clouds()


URLS: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda directory: f"sqlite:///{directory}/{uuid.uuid4().hex}.db",
    "file": lambda directory: f"file:///{directory}/{uuid.uuid4().hex}",
    "redis": lambda _: redis_server().url(uuid.uuid4().hex),
    "postgres": lambda _: postgres.shared_server().url(),
    "nats": lambda _: f"{nats.shared_server().url}?namespace={nats.new_namespace()}",
    "s3": lambda _: f"{clouds.s3}/store?namespace={uuid.uuid4().hex}",
    "azure": lambda _: f"{clouds.azure}/store?create=true&namespace={uuid.uuid4().hex}",
    "google": lambda _: f"{clouds.google}/store?namespace={uuid.uuid4().hex}",
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


class Restartable:
    """A server of a test's own.

    Attributes:
        url: An empty store on it.
        port: Where it listens.
        process: What may be killed, and started again with the same data.
    """

    def __init__(self, url: str, port: int, process: Server) -> None:
        self.url, self.port, self.process = url, port, process


@contextmanager
def _redis(directory: Path) -> Iterator[Restartable]:
    with RedisServer(directory, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield Restartable(server.url(), server.port, server)


@contextmanager
def _postgres(directory: Path) -> Iterator[Restartable]:
    with postgres.PostgresServer(directory) as server:
        yield Restartable(server.url(), server.port, server)


@contextmanager
def _nats(directory: Path) -> Iterator[Restartable]:
    with nats.NATS(directory) as server:
        yield Restartable(server.url, server.port, server.server)


@pytest.fixture(params=["redis", "postgres", "nats"])
def own_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restartable]:
    """A server of the test's own, that it may kill."""
    start = {"redis": _redis, "postgres": _postgres, "nats": _nats}[request.param]
    # PostgreSQL's user has to reach its data.
    with tempfile.TemporaryDirectory(prefix="omniq-server-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        (home := Path(directory, "server")).mkdir()
        with start(home) as server:
            yield server


@pytest.fixture
def store_url() -> str:
    """Where `make_app` makes apps unless told otherwise: nowhere that anybody looks."""
    return "memory://unused"
