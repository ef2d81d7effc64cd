"""The PostgreSQL schema of one namespace: its tables, its version, and how it comes to be."""

from __future__ import annotations

import logging

import asyncpg

from ..errors import StoreAlteredError, StoreTooNewError, StoreTooOldError
from .postgres_functions import CLAIM, FUNCTIONS, WRITE

logger = logging.getLogger("omniq")

SCHEMA_VERSION = 3
OLDEST_SERVER = 14
"""64-bit transaction ids came with 13, and 13 is out of support."""

# Text is compared by code points (collation "C"), whatever the database's own language.
#
# `ready` divides the claimable records: true is due now (found by rank), false becomes due later (found by time). A
# claim moves records from the second index to the first as their time comes, so its cost does not grow with the
# backlog, nor with the number of delayed tasks or running leases. `records_groups` gives the records of one partition
# and state in order of their keys; those without a state (results) are found by their keys alone, and need no entry.
# Nor do running ones, which are few: they have an index of their own, one for each claim to write instead of two.
#
# `changes` has one row per statement and group that it changed, appended by triggers, so that no two writers wait for
# one counter; from time to time they are folded into `counts`. The sum of both is right in every snapshot.
#
# Pages are filled by seven tenths, so that the next version of a record finds room beside the last one; and the tables
# are vacuumed long before a fifth of a million rows is dead.
_TABLES = """
CREATE TABLE {s}.records (
    kind text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, partition text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL, rank bigint NOT NULL, due_at bigint, owner text, claims bigint NOT NULL,
    version bigint NOT NULL, created_at bigint NOT NULL, updated_at bigint NOT NULL, expires_at bigint,
    ready boolean NOT NULL, body bytea NOT NULL,
    PRIMARY KEY (kind, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = .01, autovacuum_vacuum_insert_scale_factor = .05,
    autovacuum_analyze_scale_factor = .02);
CREATE INDEX records_ready ON {s}.records (kind, partition, rank, created_at, key) WHERE ready;
CREATE INDEX records_expiry ON {s}.records (kind, expires_at, key) WHERE expires_at IS NOT NULL;

CREATE TABLE {s}.counts (
    kind text COLLATE "C", partition text COLLATE "C", state text COLLATE "C", n bigint NOT NULL,
    PRIMARY KEY (kind, partition, state)
) WITH (fillfactor = 70);
CREATE TABLE {s}.changes (
    kind text COLLATE "C" NOT NULL, partition text COLLATE "C" NOT NULL, state text COLLATE "C" NOT NULL,
    n bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE SEQUENCE {s}.event_ids CACHE 100;
CREATE TABLE {s}.version (version integer NOT NULL);
"""

_INDEXES = """
CREATE INDEX records_later ON {s}.records (kind, due_at)
    WHERE NOT ready AND due_at IS NOT NULL AND state <> 'running';
CREATE INDEX records_running ON {s}.records (kind, ready, due_at) WHERE state = 'running';
CREATE INDEX records_groups ON {s}.records (kind, partition, state, key) WHERE state <> '' AND state <> 'running';
"""

# Events of one write are one row (`omniq.backends.postgres_events`): `n` of them, of which the arrays give the fields.
# Their ids are hardly shorter when they are compressed, and that would take as long as half an index entry for each.
_EVENTS = """
CREATE TABLE {s}.events (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(), id bigint NOT NULL DEFAULT nextval('{s}.event_ids'),
    min_ts bigint NOT NULL, max_ts bigint NOT NULL, n integer NOT NULL, ts bigint[] NOT NULL, attempt bigint[] NOT NULL,
    duration float8[], event_type text[] COLLATE "C" NOT NULL, task_id text[] COLLATE "C", func text[] COLLATE "C",
    queue text[] COLLATE "C", worker text[] COLLATE "C", schedule_id text[] COLLATE "C", data text[]
) WITH (autovacuum_vacuum_scale_factor = .01, autovacuum_vacuum_insert_scale_factor = .05);
ALTER TABLE {s}.events ALTER task_id SET STORAGE EXTERNAL;
CREATE INDEX events_log ON {s}.events (xid, id);
CREATE INDEX events_ts ON {s}.events (max_ts, xid, id);
CREATE INDEX events_oldest ON {s}.events (min_ts);
"""

_TRIGGERS = """
CREATE TRIGGER tally_insert AFTER INSERT ON {s}.records REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {s}.tally_insert();
CREATE TRIGGER tally_update AFTER UPDATE ON {s}.records REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {s}.tally_update();
CREATE TRIGGER tally_delete AFTER DELETE ON {s}.records REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION {s}.tally_delete();
"""

# From each version to the next. What writes waits meanwhile, and then goes on with the new functions. Version 1 had a
# row for each event, and running records in the others' indexes; version 2 another function `write` and compressed ids.
_MIGRATIONS = {
    1: f"""
LOCK TABLE {{s}}.records, {{s}}.events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE {{s}}.events RENAME TO single_events;
DROP INDEX {{s}}.events_log, {{s}}.events_ts, {{s}}.records_later, {{s}}.records_groups;
{_INDEXES}
{_EVENTS}
INSERT INTO {{s}}.events (xid, id, min_ts, max_ts, n, ts, attempt, duration, event_type, task_id, func, queue, worker,
    schedule_id, data)
SELECT xid, min(id), min(ts), max(ts), count(*), array_agg(ts ORDER BY id), array_agg(attempt ORDER BY id),
    array_agg(duration ORDER BY id), array_agg(event_type ORDER BY id), array_agg(task_id ORDER BY id),
    array_agg(func ORDER BY id), array_agg(queue ORDER BY id), array_agg(worker ORDER BY id),
    array_agg(schedule_id ORDER BY id), array_agg(data ORDER BY id)
FROM {{s}}.single_events GROUP BY xid, id / 1000;
DROP TABLE {{s}}.single_events;
DROP FUNCTION {{s}}.write, {{s}}.claim, {{s}}.lock_ready, {{s}}.ready_partitions;
{WRITE}
{CLAIM}
""",
    2: f"""
ALTER TABLE {{s}}.events ALTER task_id SET STORAGE EXTERNAL;
DROP FUNCTION {{s}}.write;
{WRITE}
""",
}
_LONGEST_WAIT = 3600.0
"""Seconds that a migration may take, and others wait for it."""

# Transaction ids begin anew in a server that a dump was restored into; events that bear the old server's would hide the
# new ones from those who read the log. The ids beside them keep their order.
_COMES_FROM_ANOTHER_SERVER = """
SELECT xid >= pg_snapshot_xmax(pg_current_snapshot()) FROM {s}.events ORDER BY xid DESC, id DESC LIMIT 1
"""
_RENUMBER = "UPDATE {s}.events SET xid = '3'"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


async def prepare(connection: asyncpg.Connection, store: str, namespace: str) -> None:
    """Create the schema when it is missing, and raise it to the present version when it is older.

    Args:
        connection: Not in a transaction.
        store: The store's URL, for messages.
        namespace: The schema's name.

    Raises:
        StoreTooOldError: The server is.
        StoreTooNewError: A newer OmniQ made the schema.
        StoreAlteredError: A schema of this name is there, and is another program's.
        asyncpg.PostgresError: Anything that the server reports.
    """
    server = connection.get_server_version()
    if server.major < OLDEST_SERVER:
        raise StoreTooOldError(store, f"it is PostgreSQL {server.major}, OmniQ needs {OLDEST_SERVER} or later")
    version = await _version(connection, namespace)
    if version is None:
        version = await _create(connection, store, namespace)
    if version > SCHEMA_VERSION:
        raise StoreTooNewError(store, f"its schema is version {version}, this OmniQ knows {SCHEMA_VERSION}")
    if version < SCHEMA_VERSION:
        await _migrate(connection, namespace)
    names = {"s": quoted(namespace)}
    if await connection.fetchval(_COMES_FROM_ANOTHER_SERVER.format(**names)):
        await connection.execute(_RENUMBER.format(**names))


async def _version(connection: asyncpg.Connection, namespace: str) -> int | None:
    try:
        found: int | None = await connection.fetchval(f"SELECT version FROM {quoted(namespace)}.version")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    return found


async def _create(connection: asyncpg.Connection, store: str, namespace: str) -> int:
    async with connection.transaction():
        await _lock(connection, namespace)
        if (version := await _version_in_transaction(connection, namespace)) is not None:
            return version
        names = {"s": quoted(namespace)}
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(namespace)}")
        try:
            for script in (_TABLES, _INDEXES, _EVENTS, FUNCTIONS, _TRIGGERS):
                await connection.execute(script.format(**names))
        except (asyncpg.DuplicateTableError, asyncpg.DuplicateFunctionError) as error:
            raise StoreAlteredError(store, f"the schema {namespace!r} belongs to another program: {error}") from error
        await connection.execute(f"INSERT INTO {quoted(namespace)}.version VALUES ({SCHEMA_VERSION})")
    logger.debug("created the schema %s in %s", namespace, store)
    return SCHEMA_VERSION


async def _migrate(connection: asyncpg.Connection, namespace: str) -> None:
    async with connection.transaction():
        await _lock(connection, namespace)
        names = {"s": quoted(namespace)}
        for version in range(await _version_in_transaction(connection, namespace) or SCHEMA_VERSION, SCHEMA_VERSION):
            await connection.execute(_MIGRATIONS[version].format(**names), timeout=_LONGEST_WAIT)
            await connection.execute("UPDATE {s}.version SET version = version + 1".format(**names))
    logger.info("raised the schema %s to version %d", namespace, SCHEMA_VERSION)


async def _lock(connection: asyncpg.Connection, namespace: str) -> None:
    """Whoever comes second waits here until the first has committed, and finds it done."""
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('omniq ' || $1, 0))"
    await connection.execute(lock, namespace, timeout=_LONGEST_WAIT)


async def _version_in_transaction(connection: asyncpg.Connection, namespace: str) -> int | None:
    # A failing statement would end the transaction, so it is asked first whether the table is there.
    there = await connection.fetchval("SELECT to_regclass($1)::text", f"{quoted(namespace)}.version")
    return None if there is None else await _version(connection, namespace)
