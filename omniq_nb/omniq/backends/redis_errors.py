"""What goes wrong with Redis, as OmniQ's user meets it."""

from __future__ import annotations

from redis import exceptions as redis_errors

from ..errors import (
    OmniQWarning,
    StoreBusyError,
    StoreCorruptError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
    ValueTooLargeError,
)

_PURGE = "purge ended tasks or give the server more memory (maxmemory), and go on; nothing that was accepted is lost"


class RedisFullError(StoreFullError):
    """The server's memory is used up, and it does not evict."""

    what = "can't grow, the server's memory is full"
    advice = _PURGE


class RedisReplicaError(StoreReadOnlyError):
    """The server is a replica."""

    what = "is a read-only replica"
    advice = "use the address of its primary"


class RedisCorruptError(StoreCorruptError):
    """A key was changed by another program."""

    what = "holds what OmniQ did not write there"
    advice = "use a namespace of its own (?namespace=...), or delete the key that is named"


class NoSuchDatabaseError(StoreError):
    """The URL names a database that the server does not have."""

    what = "has no such database"
    advice = "choose another number: servers have 0 to 15 unless they are configured otherwise, clusters have 0 alone"


class SlowServerError(StoreBusyError):
    """Another client's script holds the server."""

    what = "is held by another client's script"
    advice = "wait for it, or end it with SCRIPT KILL"


class EvictionWarning(OmniQWarning):
    """The server drops keys when its memory is full, tasks among them."""

    def __init__(self, store: str, policy: str) -> None:
        super().__init__(
            f"the store {store} drops keys when its memory is full (maxmemory-policy {policy}), so tasks can vanish: "
            f"set maxmemory-policy noeviction"
        )


class UnansweredError(redis_errors.ConnectionError):
    """The connection was lost, or the server fell silent, after a call was sent."""


class UnsentError(redis_errors.ConnectionError):
    """No connection came about, or the server did not carry the call out."""


def translate(error: BaseException, store: str) -> StoreError:
    """The client's error as OmniQ's user meets it; see `RemoteDriver.translate`."""
    said = " ".join(str(error).split())
    match error:
        case UnansweredError():
            return StoreUnavailableError(store, said, sent=True)
        case redis_errors.AuthenticationError() | redis_errors.NoPermissionError():
            return StoreDeniedError(store, said)
        case redis_errors.OutOfMemoryError():
            return RedisFullError(store)
        case redis_errors.ReadOnlyError():
            return RedisReplicaError(store)
        case redis_errors.ConnectionError() | redis_errors.TimeoutError() | OSError():
            return StoreUnavailableError(store, said, sent=False)
        case redis_errors.ResponseError():
            return _refused(said, store)
        case _:
            return StoreError(store, said)


def _refused(said: str, store: str) -> StoreError:
    """What the server answered, where the client has no class for it."""
    if "WRONGTYPE" in said:
        return RedisCorruptError(store, "a key has another type than OmniQ gave it")
    if said.startswith("CORRUPT"):
        return RedisCorruptError(store, said.removeprefix("CORRUPT "))
    if "OOM command not allowed" in said:
        return RedisFullError(store)
    if "READONLY" in said:
        return RedisReplicaError(store)
    if "DB index" in said:
        return NoSuchDatabaseError(store)
    if said.startswith("BUSY "):
        return SlowServerError(store)
    if "invalid bulk length" in said or "invalid multibulk length" in said:
        return ValueTooLargeError(store, said)
    if "NOPERM" in said:
        return StoreDeniedError(store, said)
    return StoreError(store, said)
