"""What a ``postgresql://`` URL and its options say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from ..errors import ConfigError

_is_namespace = re.compile(r"[A-Za-z0-9_.-]{1,50}").fullmatch  # with the channel's prefix it stays below 63 characters


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the driver uses its server. All of them but ``ssl`` may stand in the URL's query as well.

    Attributes:
        namespace: The schema that holds the store.
        pool_size: Connections for calls at most; one more listens.
        timeout: Seconds that connecting, or one statement, may take.
        listen: Hear of other processes' writes by LISTEN; without it they are found by polling.
        prepared: Keep prepared statements. Turn it off, and `listen`, behind PgBouncer in transaction mode.
        ssl: As asyncpg takes it; in the URL: ``sslmode`` and its kin.
    """

    namespace: str = "omniq"
    pool_size: int = 5
    timeout: float = 30.0
    listen: bool = True
    prepared: bool = True
    ssl: Any = None


OPTIONS = frozenset(Settings.__struct_fields__)
_IN_QUERY = OPTIONS - {"ssl"}


def parse(url: str, options: Mapping[str, Any]) -> tuple[str, Settings]:
    """The URL as asyncpg takes it, and the settings.

    Raises:
        ConfigError: One has a value that it can't have.
    """
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")  # asyncpg would take the first @
    query = parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in query if name in _IN_QUERY}
    rest = urlencode([(name, value) for name, value in query if name not in _IN_QUERY])
    try:
        settings = msgspec.convert({**own, **options}, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"an option of the PostgreSQL store has a value that it can't have: {error}") from error
    if not _is_namespace(settings.namespace):
        raise ConfigError(
            f"namespace is the name of a schema: up to 50 letters, digits, '_', '-' and '.', not {settings.namespace!r}"
        )
    if settings.pool_size < 1 or settings.timeout <= 0:
        raise ConfigError("pool_size must be at least 1, and timeout more than 0 seconds")
    return urlunsplit(parts._replace(netloc=f"{login.replace('@', '%40')}{at}{hosts}", query=rest)), settings
