"""Where a Redis store is: its URL taken apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import RedisError

from ..errors import ConfigError, OptionError
from ..masking import mask_url
from .client_options import parameters_of

DEFAULT_NAMESPACE = "omniq"
_is_namespace = re.compile(r"[^\s{}\x00-\x1f]+").fullmatch
_PORT = 6379
_CONNECT_SECONDS = 5.0
_PATIENCE = 10.0


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Place:
    """A store: servers, database, namespace, and how to connect.

    Args:
        url: ``redis://[user:password@]host[:port][/database][?namespace=name]``; ``rediss`` for TLS, and
            ``redis+cluster`` for a cluster, where several addresses may be given, separated by commas. Other parameters
            are redis-py's.
        options: For redis-py's connections; they go before the URL's.

    Attributes:
        namespace: Separates stores on one server.
        cluster: The URL names a cluster.
        seeds: The addresses that it names.
        patience: Seconds within which a server must answer; redis-py's ``socket_timeout``.

    Raises:
        ConfigError: The URL, or an option, is none.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        parts = urlsplit(url)
        scheme, _, kind = parts.scheme.partition("+")
        credentials, at, hosts = parts.netloc.rpartition("@")
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.namespace = query.pop("namespace", DEFAULT_NAMESPACE)
        if not _is_namespace(self.namespace):
            raise ConfigError(f"the namespace {self.namespace!r} must have no spaces, braces or control characters")
        self.cluster = kind == "cluster"
        first, *others = hosts.split(",")
        plain = urlunsplit((scheme, credentials + at + first, parts.path, urlencode(query), ""))
        try:
            arguments: dict[str, Any] = {**parse_url(plain), **options}
            self.seeds = [_address(first), *map(_address, others)]
        except ValueError as error:
            raise ConfigError(f"the URL {mask_url(url)} can't be read: {error}") from error
        if self.cluster and arguments.get("db"):
            raise ConfigError(f"the URL {mask_url(url)} names a database, and a cluster has none but 0: leave it out")
        self._url = url
        try:
            self.patience = float(arguments.pop("socket_timeout", None) or _PATIENCE)
        except (TypeError, ValueError):
            raise OptionError("socket_timeout is a number of seconds") from None
        self._class: type[Connection] = arguments.pop("connection_class", Connection)
        arguments = {"socket_connect_timeout": _CONNECT_SECONDS, **arguments}
        # What a driver rests on: bytes as they are, no call repeated behind its back, and no timeout of the client's in
        # the middle of a pipeline.
        self._arguments = arguments | {
            "decode_responses": False, "protocol": 2, "retry": None, "retry_on_timeout": False, "socket_timeout": None,
        }  # fmt: skip
        for name in ("host", "port"):
            self._arguments.pop(name, None)
        self.connection(self.seeds[0])  # refuses what is no option

    @property
    def prefix(self) -> str:
        """What all keys begin with. The braces keep them in one slot of a cluster, so scripts can touch them all."""
        return f"omniq:{{{self.namespace}}}:"

    def connection(self, address: Address) -> Connection:
        """An unopened connection to one of the servers."""
        try:
            return self._class(host=address.host, port=address.port, **self._arguments)
        except (TypeError, ValueError, RedisError) as error:
            allowed = parameters_of(self._class)
            for name in sorted(self._arguments.keys() - allowed):
                raise OptionError.unknown_to_store(self._url, name, allowed) from error
            raise OptionError(f"the Redis client does not take an option of {mask_url(self._url)}: {error}") from error


def _address(host_and_port: str) -> Address:
    # As urlsplit reads it: brackets around an IPv6 address, a port that is a number.
    parts = urlsplit(f"//{host_and_port}")
    return Address(parts.hostname or "localhost", parts.port or _PORT)
