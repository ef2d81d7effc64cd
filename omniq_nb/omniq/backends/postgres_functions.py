"""What runs inside PostgreSQL: one function for each call that has to be one round trip, and the counters' triggers.

The functions fix the planner's choices: a plan that was made while a table was small is used for as long as the
connection lives, and must be one by index (``enable_...``, ``plan_cache_mode``) all the same.
"""

from __future__ import annotations

_PLANS = (
    "SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off "
    "SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off"
)


class Arrays:
    """The arrays that a group of operations comes in, one for each column: the last as long as there are rows, the
    others of one element where all rows have the same value, and NULL where they have none. That saves most of what
    goes over the wire.

    Args:
        prefix: Of the parameters' names.
        columns: Their names and types; a type that ends in ``?`` may have NULLs among its values.
    """

    def __init__(self, prefix: str, **columns: str) -> None:
        self.width = len(columns)
        self.columns = tuple(columns)
        self.parameters = ", ".join(f"{prefix}_{name} {type_.rstrip('?')}[]" for name, type_ in columns.items())
        arrays = ", ".join(f"{prefix}_{name}" for name in columns)
        values = ", ".join(f"{_value(prefix, name, type_)} AS {name}" for name, type_ in columns.items())
        self.rows = f"(SELECT {values} FROM unnest({arrays}) AS x({', '.join(columns)})) AS w"


def _value(prefix: str, name: str, type_: str) -> str:
    array = f"{prefix}_{name}"
    if type_.endswith("?"):
        return f"CASE cardinality({array}) WHEN 1 THEN {array}[1] ELSE x.{name} END"
    return f"coalesce(x.{name}, {array}[1])"


_FENCED = {"kind": "text", "key": "text", "version": "bigint", "created": "bigint"}
_CONTENT = {
    "partition": "text", "state": "text", "rank": "bigint", "due": "bigint?", "owner": "text?", "claims": "bigint",
}  # fmt: skip
_MOMENTS = {"updated": "bigint", "expires": "bigint?"}
REPLACE = Arrays("r", **_FENCED, **_CONTENT, **_MOMENTS, body="bytea?", n="int")
EXTEND = Arrays("x", **_FENCED, due="bigint", n="int")
DELETE = Arrays("d", **_FENCED, n="int")
# The next two begin like a record and like an event, whole, as they can be had at once.
INSERT = Arrays(
    "i", kind="text", key="text", **_CONTENT, version="bigint", created="bigint", **_MOMENTS, body="bytea", after="int",
    n="int",
)  # fmt: skip
APPEND = Arrays(
    "e", ts="bigint", type="text", task="text?", func="text?", queue="text?", worker="text?", attempt="bigint",
    duration="float8?", schedule="text?", data="text?", after="int",
)  # fmt: skip
GROUPS = (REPLACE, EXTEND, DELETE, INSERT, APPEND)

_COLUMNS = ", ".join(f"e_{column}" for column in APPEND.columns)
_KEPT = ", ".join(f"array_agg(w.{column})" for column in APPEND.columns)

_STANDS = "r.kind = w.kind AND r.key = w.key AND r.version = w.version AND r.created_at = w.created"

_INSERT_ROWS = f"""INSERT INTO {{s}}.records (kind, key, partition, state, rank, due_at, ready, owner, claims, version,
                created_at, updated_at, expires_at, body)
            SELECT w.kind, w.key, w.partition, w.state, w.rank, w.due, coalesce(w.due <= moment, false), w.owner,
                w.claims, 1, w.created, w.updated, w.expires, w.body
            FROM {INSERT.rows} WHERE w.after <> ALL (failed)"""

# Replacements first, then insertions (which may be guarded by replacements), then events (which may be guarded by
# either), because the usual batch is a settlement. Rows are numbered by the caller; the numbers of those that did not
# apply are the answer: as a rule there are none. Rows come in order of their keys, so that two writers lock them in the
# same order. Events are stored as the arrays that they come in, unless some of them hang on what did not apply.
WRITE = f"""
CREATE FUNCTION {{s}}.write(
    moment bigint, flush boolean, channel text, hint text, {", ".join(group.parameters for group in GROUPS)}
) RETURNS int[] LANGUAGE plpgsql {_PLANS} AS $$
DECLARE
    failed int[] := '{{{{}}}}';
    done int[];
    kinds text[];
    keys text[];
BEGIN
    moment := coalesce(moment, {{s}}.now());
    IF flush THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF r_n IS NOT NULL THEN
        WITH replaced AS (
            UPDATE {{s}}.records r SET partition = w.partition, state = w.state, rank = w.rank, due_at = w.due,
                ready = coalesce(w.due <= moment, false), owner = w.owner, claims = w.claims, version = r.version + 1,
                updated_at = w.updated, expires_at = w.expires, body = coalesce(w.body, r.body)
            FROM {REPLACE.rows} WHERE {_STANDS} RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM replaced;
        failed := failed || {{s}}.missing(r_n, done);
    END IF;
    IF x_n IS NOT NULL THEN
        WITH extended AS (
            UPDATE {{s}}.records r SET due_at = w.due, ready = w.due <= moment
            FROM {EXTEND.rows} WHERE {_STANDS} RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM extended;
        failed := failed || {{s}}.missing(x_n, done);
    END IF;
    IF d_n IS NOT NULL THEN
        WITH deleted AS (
            DELETE FROM {{s}}.records r USING {DELETE.rows} WHERE {_STANDS} RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM deleted;
        failed := failed || {{s}}.missing(d_n, done);
    END IF;
    IF i_n IS NOT NULL THEN
        -- As a rule no key is there yet, and not to provide for it saves a quarter of the work.
        BEGIN
            {_INSERT_ROWS};
            IF failed <> '{{{{}}}}' THEN
                failed := failed || ARRAY(SELECT w.n FROM {INSERT.rows} WHERE w.after = ANY (failed));
            END IF;
        EXCEPTION WHEN unique_violation THEN
            WITH inserted AS ({_INSERT_ROWS} ON CONFLICT DO NOTHING RETURNING kind, key)
            SELECT array_agg(kind), array_agg(key) INTO kinds, keys FROM inserted;
            failed := failed || ARRAY(
                SELECT w.n FROM {INSERT.rows} WHERE (w.kind, w.key) NOT IN (SELECT * FROM unnest(kinds, keys))
            );
        END;
    END IF;
    IF e_after && failed THEN
        SELECT {_KEPT} INTO {_COLUMNS} FROM {APPEND.rows} WHERE w.after <> ALL (failed);
    END IF;
    IF e_after IS NOT NULL THEN
        INSERT INTO {{s}}.events
            (n, min_ts, max_ts, ts, event_type, task_id, func, queue, worker, attempt, duration, schedule_id, data)
        SELECT cardinality(e_after), min(moments), max(moments), e_ts, e_type, e_task, e_func, e_queue, e_worker,
            e_attempt, e_duration, e_schedule, e_data
        FROM unnest(e_ts) AS moments;
    END IF;
    IF hint IS NOT NULL THEN
        PERFORM pg_notify(channel, hint);
    END IF;
    RETURN failed;
END
$$;
"""

# A claim locks what it takes, and passes over what another claim has locked. With several partitions it first finds
# out, without locking, how many records of each are among the first ones: locking the limit in every partition would
# hide records from claims that run at the same time. A partition that gives less than that (others were faster) is
# left out, and the rest looked at again.
#
# What a stalled network delivers after its deadline, when nobody waits for it any more, does nothing: it would take
# tasks away from those who could run them.
CLAIM = (
    """
CREATE FUNCTION {s}.claim(
    moment bigint, deadline bigint, flush boolean, wanted_kind text, partitions text[], excluded text[], claimer text,
    n bigint, lease bigint
) RETURNS TABLE (
    kind text, key text, partition text, state text, rank bigint, due_at bigint, owner text, claims bigint,
    version bigint, created_at bigint, updated_at bigint, expires_at bigint, body bytea
) LANGUAGE plpgsql """
    + _PLANS
    + """ AS $$
#variable_conflict use_column
DECLARE
    present bigint := coalesce(moment, {s}.now());
    ordered boolean := partitions IS NOT NULL;
    due tid[];
    served text[];
    chosen tid[] := '{{}}';
    taken tid[];
    share record;
BEGIN
    IF present > deadline THEN
        RETURN;
    END IF;
    -- A claim is no promise to anybody: if the server crashes, it may be forgotten, and the task is claimed again.
    PERFORM set_config('synchronous_commit', CASE WHEN flush THEN 'on' ELSE 'off' END, true);
    due := ARRAY(
        SELECT ctid FROM {s}.records
        WHERE kind = wanted_kind AND NOT ready AND due_at <= present AND state <> 'running'
        ORDER BY due_at LIMIT 5000 FOR UPDATE SKIP LOCKED
    ) || ARRAY(
        SELECT ctid FROM {s}.records
        WHERE kind = wanted_kind AND NOT ready AND due_at <= present AND state = 'running'
        ORDER BY due_at LIMIT 5000 FOR UPDATE SKIP LOCKED
    );
    -- As a rule there are none, and even then an update would call the counters' trigger.
    IF cardinality(due) > 0 THEN
        UPDATE {s}.records SET ready = true WHERE ctid = ANY (due);
    END IF;
    served := coalesce(partitions, {s}.ready_partitions(wanted_kind, excluded));
    IF cardinality(served) = 1 THEN
        chosen := {s}.lock_ready(wanted_kind, served[1], present, n, chosen);
    ELSE
        WHILE cardinality(served) > 0 AND cardinality(chosen) < n LOOP
            FOR share IN
                SELECT f.name, count(*) AS size FROM (
                    SELECT p.name FROM unnest(served) AS p(name), LATERAL (
                        SELECT rank, created_at, key FROM {s}.records
                        WHERE kind = wanted_kind AND partition = p.name AND ready AND due_at <= present
                            AND ctid <> ALL (chosen)
                        ORDER BY rank, created_at, key LIMIT n - cardinality(chosen)
                    ) AS r
                    ORDER BY r.rank, CASE WHEN ordered THEN array_position(partitions, p.name) END, r.created_at, r.key
                    LIMIT n - cardinality(chosen)
                ) AS f GROUP BY f.name
            LOOP
                taken := {s}.lock_ready(wanted_kind, share.name, present, share.size, chosen);
                IF cardinality(taken) < share.size THEN
                    served := array_remove(served, share.name);
                END IF;
                chosen := chosen || taken;
            END LOOP;
            EXIT WHEN NOT FOUND;
        END LOOP;
    END IF;
    IF cardinality(chosen) = 0 THEN
        RETURN;
    END IF;
    RETURN QUERY
        WITH claimed AS (
            UPDATE {s}.records SET state = 'running', owner = claimer, claims = claims + 1, version = version + 1,
                due_at = present + lease, ready = false, updated_at = present
            WHERE ctid = ANY (chosen) RETURNING *
        )
        SELECT kind, key, partition, state, rank, due_at, owner, claims, version, created_at, updated_at, expires_at,
            body
        FROM claimed
        ORDER BY rank, CASE WHEN ordered THEN array_position(partitions, partition) END, created_at, key;
END
$$;

CREATE FUNCTION {s}.lock_ready(wanted_kind text, name text, present bigint, n bigint, besides tid[]) RETURNS tid[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT ctid FROM {s}.records
        WHERE kind = wanted_kind AND partition = name AND ready AND due_at <= present AND ctid <> ALL (besides)
        ORDER BY rank, created_at, key LIMIT n FOR UPDATE SKIP LOCKED
    );
END
$$;

CREATE FUNCTION {s}.ready_partitions(wanted_kind text, excluded text[]) RETURNS text[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        WITH RECURSIVE found(name) AS (
            (SELECT partition FROM {s}.records WHERE kind = wanted_kind AND ready ORDER BY partition LIMIT 1)
            UNION ALL
            SELECT (
                SELECT partition FROM {s}.records WHERE kind = wanted_kind AND ready AND partition > found.name
                ORDER BY partition LIMIT 1
            ) FROM found WHERE found.name IS NOT NULL
        )
        SELECT name FROM found WHERE name IS NOT NULL AND name <> ALL (excluded)
    );
END
$$;
"""
)

_SMALL = """
CREATE FUNCTION {s}.now() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint';

CREATE FUNCTION {s}.missing(numbers int[], done int[]) RETURNS int[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF cardinality(numbers) = cardinality(done) THEN
        RETURN '{{}}';
    END IF;
    RETURN ARRAY(SELECT unnest(numbers) EXCEPT SELECT unnest(done));
END
$$;
"""

_COUNTERS = """
CREATE FUNCTION {s}.tally_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {s}.changes SELECT kind, partition, state, count(*) FROM added GROUP BY kind, partition, state;
    RETURN NULL;
END
$$;
CREATE FUNCTION {s}.tally_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {s}.changes
    SELECT kind, partition, state, sum(n) FROM (
        SELECT kind, partition, state, 1 AS n FROM added UNION ALL SELECT kind, partition, state, -1 FROM removed
    ) AS moves GROUP BY kind, partition, state HAVING sum(n) <> 0;
    RETURN NULL;
END
$$;
CREATE FUNCTION {s}.tally_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {s}.changes SELECT kind, partition, state, -count(*) FROM removed GROUP BY kind, partition, state;
    RETURN NULL;
END
$$;

CREATE FUNCTION {s}.fold() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('omniq fold ' || '{s}', 0)) THEN
        RETURN;
    END IF;
    WITH gone AS (DELETE FROM {s}.changes RETURNING *)
    INSERT INTO {s}.counts AS c
    SELECT kind, partition, state, sum(n) FROM gone GROUP BY kind, partition, state HAVING sum(n) <> 0
    ON CONFLICT (kind, partition, state) DO UPDATE SET n = c.n + excluded.n;
    DELETE FROM {s}.counts WHERE n = 0;
END
$$;
"""

FUNCTIONS = _SMALL + _COUNTERS + WRITE + CLAIM
