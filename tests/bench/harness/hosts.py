"""Where stores lie: directories, and servers of this run's own, which end with it however it ends.

The servers are those that the tests start, on free ports of the loopback interface.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .paths import ROOT

sys.path.append(str(ROOT))  # for `tests.servers`; last, so that nothing else comes from there

_SHARED_BUFFERS = "512MB"
_NATS_DEFAULT = "2m"
_KEPT = "KEPT"


class HostError(Exception):
    """There is no such server here; the text says why."""


class Host:
    """Gives empty stores, one at a time; filled ones are filled anew each time, unless it can copy them.

    Attributes:
        about: What the report says of the server.
        url: The present store's, where it is in a server.
        pid: The server's, where there is one.
    """

    about = ""
    url = ""
    pid: int | None = None

    def empty(self) -> None:
        """Make an empty store in the server, in place of the one before."""

    def has(self, master: str) -> bool:
        """Whether there is a filled store of this name to copy."""
        return False

    def keep(self, master: str, directory: Path) -> None:
        """Make the present store the one to copy."""

    def copy(self, master: str, directory: Path) -> None:
        """Make a copy of it the present store; none of it is written to the disk while something is measured."""


class DirectoryHost(Host):
    """Without a server: a store is a directory."""

    def __init__(self, scratch: Path, closing: ExitStack) -> None:
        self._masters = scratch / "filled"

    def has(self, master: str) -> bool:
        return (self._masters / master).exists()

    def keep(self, master: str, directory: Path) -> None:
        self._masters.mkdir(exist_ok=True)
        directory.rename(self._masters / master)

    def copy(self, master: str, directory: Path) -> None:
        shutil.copytree(self._masters / master, directory, dirs_exist_ok=True)
        os.sync()


class RedisHost(Host):
    """Redis, or Valkey, that writes nothing to the disk."""

    def __init__(self, scratch: Path, closing: ExitStack) -> None:
        from tests.servers.redis import RedisServer

        self._server = closing.enter_context(RedisServer(scratch / "redis"))
        with self._server.client() as client:
            said = client.info("server")
        name, version = said.get("server_name", "redis"), said.get("valkey_version", said["redis_version"])
        self.about = f"{name.capitalize()} {version}, without persistence"
        self.url = f"redis://127.0.0.1:{self._server.port}/0"
        self.pid = self._server.pid

    def empty(self) -> None:
        with self._server.client() as client:
            client.flushall()


class PostgresHost(Host):
    """PostgreSQL that flushes each commit to the disk; a store is a database."""

    def __init__(self, scratch: Path, closing: ExitStack) -> None:
        from tests.servers.postgres import PostgresServer

        self._server = PostgresServer(_open_to_others(scratch, closing), fsync="on", shared_buffers=_SHARED_BUFFERS)
        self._server.start()
        closing.callback(self._server.stop_at_once)
        self.pid = self._server.pid
        ((version,),) = self._run("SHOW server_version")
        self.about = f"PostgreSQL {version}, fsync on, shared_buffers {_SHARED_BUFFERS}"
        self._stores = 0
        self._masters: set[str] = set()

    def empty(self) -> None:
        self._remove()
        self._make("template0")

    def has(self, master: str) -> bool:
        return master in self._masters

    def keep(self, master: str, directory: Path) -> None:
        self._run("VACUUM ANALYZE", self._name)
        self._run(f'ALTER DATABASE {self._name} RENAME TO "{master}"')
        self._masters.add(master)

    def copy(self, master: str, directory: Path) -> None:
        self._remove()
        self._make(master)

    @property
    def _name(self) -> str:
        return f"store_{self._stores}"

    def _remove(self) -> None:
        self._run(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")

    def _make(self, template: str) -> None:
        self._stores += 1
        self._run(f'CREATE DATABASE {self._name} TEMPLATE "{template}" STRATEGY FILE_COPY')
        self._run("CHECKPOINT")  # else one would come while something is measured
        self.url = f"postgresql://omniq@127.0.0.1:{self._server.port}/{self._name}"

    def _run(self, sql: str, database: str = "postgres") -> list[Any]:
        return asyncio.run(self._fetch(sql, database))

    async def _fetch(self, sql: str, database: str) -> list[Any]:
        # Without the tests' limit of time: a database with a million tasks takes a while to copy.
        import asyncpg

        connection = await asyncpg.connect(f"postgresql://omniq@127.0.0.1:{self._server.port}/{database}")
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()


class NATSHost(Host):
    """NATS with JetStream, which flushes to the disk as a server does that nobody has configured."""

    def __init__(self, scratch: Path, closing: ExitStack) -> None:
        from tests.servers.nats import NATS

        server = closing.enter_context(NATS(scratch / "nats", sync_interval=_NATS_DEFAULT))
        self.about = f"NATS {server.ask('varz')['version']}, JetStream with its default sync_interval, {_NATS_DEFAULT}"
        self.url = server.url
        self.pid = server.server.pid

    def empty(self) -> None:
        asyncio.run(self._empty())

    async def _empty(self) -> None:
        import nats

        connection = await nats.connect(self.url)
        jetstream = connection.jetstream()
        # With its last stream the server would delete directories, which fails now and then beside a new one.
        await jetstream.add_stream(name=_KEPT, subjects=[_KEPT], storage="memory")
        names = [stream.config.name or "" for stream in await jetstream.streams_info()]
        for name in names:
            if name != _KEPT:
                await jetstream.delete_stream(name)
        await connection.close()


def _open_to_others(scratch: Path, closing: ExitStack) -> Path:
    """A directory that PostgreSQL's user can reach, who is not root."""
    scratch.chmod(0o755)
    if not all(each.stat().st_mode & stat.S_IXOTH for each in scratch.parents):
        scratch = Path(tempfile.mkdtemp(prefix="omniq-bench-"))
        closing.callback(shutil.rmtree, scratch, ignore_errors=True)
        scratch.chmod(0o755)
    directory = scratch / "postgres"
    directory.mkdir()
    return directory


_HOSTS: dict[str, Callable[[Path, ExitStack], Host]] = {"redis": RedisHost, "postgres": PostgresHost, "nats": NATSHost}


class Hosts:
    """A run's hosts, each of which starts when it is first asked for.

    Args:
        scratch: For the servers' files.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._closing = ExitStack()
        self._started: dict[str, Host] = {}

    def host(self, kind: str) -> Host:
        """The host of a kind of store.

        Raises:
            HostError: Its server can't be started.
        """
        if kind not in self._started:
            self._started[kind] = self._start(kind)
        return self._started[kind]

    def _start(self, kind: str) -> Host:
        try:
            return _HOSTS.get(kind, DirectoryHost)(self._scratch, self._closing)
        except (ImportError, OSError, RuntimeError, AssertionError) as error:
            raise HostError(f"no {kind} server: {error}") from error

    def empty(self) -> None:
        """Leave nothing in the servers' memory that the next scenario would have to do without."""
        for host in self._started.values():
            host.empty()

    def close(self) -> None:
        """End the servers."""
        self._closing.close()
