"""PostgreSQL's errors in OmniQ's words."""

from __future__ import annotations

import asyncpg

from ..errors import (
    ServerReadOnlyError,
    StoreAlteredError,
    StoreDeniedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    ValueTooLargeError,
)

FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises; a TimeoutError is an OSError."""

CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""A transaction that ended so has done nothing and may be done again."""

_KINDS: tuple[tuple[type[asyncpg.PostgresError], type[StoreError]], ...] = (
    (asyncpg.InvalidAuthorizationSpecificationError, StoreDeniedError),
    (asyncpg.InsufficientPrivilegeError, StoreDeniedError),
    (asyncpg.ReadOnlySQLTransactionError, ServerReadOnlyError),
    (asyncpg.DiskFullError, StoreFullError),
    (asyncpg.ProgramLimitExceededError, ValueTooLargeError),
    (asyncpg.SyntaxOrAccessError, StoreAlteredError),
    (asyncpg.NotNullViolationError, StoreAlteredError),
    (asyncpg.CheckViolationError, StoreAlteredError),
)


class PoolerError(StoreError):
    """Something like PgBouncer is in between, and does not pass on what the driver says when it connects."""

    what = "is reached through a pooler that has no room for a session's settings"
    advice = "behind PgBouncer in transaction mode, add ?prepared=false&listen=false to the URL"


# The server said so before, or instead of, carrying the statement out.
_REFUSED = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
# The connection ended, and perhaps with it the answer to a statement that was carried out.
_LOST = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InternalClientError, OSError)


def translate(error: BaseException, store: str, *, sent: bool = True) -> StoreError:
    """The error as OmniQ's user meets it.

    Args:
        error: What asyncpg raised.
        store: The store's URL, passwords masked.
        sent: Whether a statement was sent before it.
    """
    detail = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TimeoutError):
        detail = "no answer in time" if not str(error) else detail
    if isinstance(error, _REFUSED):
        return StoreUnavailableError(store, detail, sent=False)
    if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in detail:
        return PoolerError(store, detail)
    for foreign, kind in _KINDS:
        if isinstance(error, foreign):
            return kind(store, detail)
    if isinstance(error, _LOST):
        return StoreUnavailableError(store, detail, sent=sent)
    if isinstance(error, asyncpg.InterfaceError) and "clos" in detail:  # "connection is closed", "pool is closing"
        return StoreUnavailableError(store, detail, sent=False)
    return StoreError(store, detail)
