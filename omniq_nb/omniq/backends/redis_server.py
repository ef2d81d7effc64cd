"""What a server has to be before it holds a store."""

from __future__ import annotations

import warnings

from ..errors import StoreAlteredError, StoreTooNewError, StoreTooOldError
from ..masking import mask_url
from .redis_errors import EvictionWarning
from .redis_link import Link

SCHEMA_VERSION = 1
OLDEST_SERVER = (7, 0)


async def prepare(link: Link, url: str) -> None:
    """Look at the server, and mark the store with the version of its scheme if it is new.

    Args:
        link: To the server.
        url: For messages.

    Raises:
        StoreTooOldError: The server is too old.
        StoreTooNewError: The store is of a newer version.
        StoreAlteredError: What says the version says something else.
    """
    facts = _facts(await link.call("INFO"))
    version = facts.get("valkey_version") or facts.get("redis_version", "")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        raise StoreTooOldError(url, f"Redis {version}, and OmniQ needs 7.0")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys") and facts.get("maxmemory") != "0":
        warnings.warn(EvictionWarning(mask_url(url), policy), stacklevel=2)
    schema = await link.call("HGET", link.meta, "schema")
    if schema is None:  # (a server whose memory is full refuses to write what is there already)
        await link.call("HSETNX", link.meta, "schema", SCHEMA_VERSION)
        schema = await link.call("HGET", link.meta, "schema")
    if not schema.isdigit():
        raise StoreAlteredError(url, f"{link.meta.decode()} says schema {schema!r}")
    if int(schema) > SCHEMA_VERSION:
        raise StoreTooNewError(url, f"schema {int(schema)}")


def _facts(info: bytes) -> dict[str, str]:
    """What INFO says."""
    lines = [line.partition(":") for line in info.decode().splitlines() if not line.startswith("#")]
    return {name: value for name, _, value in lines}
