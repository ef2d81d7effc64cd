"""Where stores lie: directories, and servers of this run's own, which end with it however it ends.

The servers are those that the tests start, on free ports of the loopback interface.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from .paths import ROOT

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer

sys.path.append(str(ROOT))  # for `tests.servers`; last, so that nothing else comes from there


class HostError(Exception):
    """There is no such server here; the text says why."""


class Host:
    """Gives empty stores. This one has no server: a store is a directory.

    Attributes:
        about: What the report says of the server.
    """

    about: str = ""

    def empty(self) -> str:
        """Make an empty store in the server, in place of the one before; gives its URL."""
        return ""

    def settle(self) -> None:
        """What was written lies where it stays: none of it is written while something is measured."""


class RedisHost(Host):
    """Redis, or Valkey, that writes nothing to the disk."""

    def __init__(self, scratch: Path, closing: ExitStack) -> None:
        from tests.servers.redis import RedisServer

        self._server: RedisServer = closing.enter_context(RedisServer(scratch / "redis"))
        with self._server.client() as client:
            said = client.info("server")
        name, version = said.get("server_name", "redis"), said.get("valkey_version", said["redis_version"])
        self.about = f"{name.capitalize()} {version}, without persistence"

    def empty(self) -> str:
        with self._server.client() as client:
            client.flushall()
        return f"redis://127.0.0.1:{self._server.port}/0"


_SERVERS: dict[str, type[RedisHost]] = {"redis": RedisHost}


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
        if kind not in _SERVERS:
            return Host()
        try:
            return _SERVERS[kind](self._scratch, self._closing)
        except (ImportError, OSError, RuntimeError, AssertionError) as error:
            raise HostError(f"no {kind} server: {error}") from error

    def close(self) -> None:
        """End the servers."""
        self._closing.close()
