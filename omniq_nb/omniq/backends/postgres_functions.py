"""What runs inside PostgreSQL: one function for each call that has to be one round trip, and the counters' triggers.

The functions fix the planner's choices: a plan that was made while a table was small is used for as long as the
connection lives, and must be one by index (``enable_...``, ``plan_cache_mode``) all the same.
"""

from __future__ import annotations

_PLANS = (
    "SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off "
    "SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off"
)

# Replacements first, then insertions (which may be guarded by replacements), then events (which may be guarded by
# either), because the usual batch is a settlement. Rows are numbered by the caller (`*_n`); the numbers of those that
# did not apply are the answer: as a rule there are none. Rows come in order of their keys, so that two writers lock
# them in the same order.
_WRITE = (
    """
CREATE FUNCTION {s}.write(
    moment bigint, flush boolean,
    r_n int[], r_kind text[], r_key text[], r_version bigint[], r_created bigint[], r_partition text[], r_state text[],
    r_rank bigint[], r_due bigint[], r_owner text[], r_claims bigint[], r_updated bigint[], r_expires bigint[],
    r_body bytea[],
    x_n int[], x_kind text[], x_key text[], x_version bigint[], x_created bigint[], x_due bigint[],
    d_n int[], d_kind text[], d_key text[], d_version bigint[], d_created bigint[],
    i_n int[], i_after int[], i_kind text[], i_key text[], i_partition text[], i_state text[], i_rank bigint[],
    i_due bigint[], i_owner text[], i_claims bigint[], i_created bigint[], i_updated bigint[], i_expires bigint[],
    i_body bytea[],
    e_after int[], e_ts bigint[], e_type text[], e_task text[], e_func text[], e_queue text[], e_worker text[],
    e_attempt bigint[], e_duration float8[], e_schedule text[], e_data text[]
) RETURNS int[] LANGUAGE plpgsql """
    + _PLANS
    + """ AS $$
DECLARE
    failed int[] := '{{}}';
    done int[];
    kinds text[];
    keys text[];
BEGIN
    moment := coalesce(moment, {s}.now());
    IF flush THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF r_n IS NOT NULL THEN
        WITH replaced AS (
            UPDATE {s}.records r SET partition = w.partition, state = w.state, rank = w.rank, due_at = w.due,
                ready = coalesce(w.due <= moment, false), owner = w.owner, claims = w.claims, version = r.version + 1,
                updated_at = w.updated, expires_at = w.expires, body = coalesce(w.body, r.body)
            FROM unnest(r_n, r_kind, r_key, r_version, r_created, r_partition, r_state, r_rank, r_due, r_owner,
                r_claims, r_updated, r_expires, r_body) AS w(n, kind, key, version, created, partition, state, rank,
                due, owner, claims, updated, expires, body)
            WHERE r.kind = w.kind AND r.key = w.key AND r.version = w.version AND r.created_at = w.created
            RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM replaced;
        IF cardinality(done) IS DISTINCT FROM cardinality(r_n) THEN
            failed := failed || {s}.missing(r_n, done);
        END IF;
    END IF;
    IF x_n IS NOT NULL THEN
        WITH extended AS (
            UPDATE {s}.records r SET due_at = w.due, ready = w.due <= moment
            FROM unnest(x_n, x_kind, x_key, x_version, x_created, x_due) AS w(n, kind, key, version, created, due)
            WHERE r.kind = w.kind AND r.key = w.key AND r.version = w.version AND r.created_at = w.created
            RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM extended;
        IF cardinality(done) IS DISTINCT FROM cardinality(x_n) THEN
            failed := failed || {s}.missing(x_n, done);
        END IF;
    END IF;
    IF d_n IS NOT NULL THEN
        WITH deleted AS (
            DELETE FROM {s}.records r
            USING unnest(d_n, d_kind, d_key, d_version, d_created) AS w(n, kind, key, version, created)
            WHERE r.kind = w.kind AND r.key = w.key AND r.version = w.version AND r.created_at = w.created
            RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM deleted;
        IF cardinality(done) IS DISTINCT FROM cardinality(d_n) THEN
            failed := failed || {s}.missing(d_n, done);
        END IF;
    END IF;
    IF i_n IS NOT NULL THEN
        WITH inserted AS (
            INSERT INTO {s}.records (kind, key, partition, state, rank, due_at, ready, owner, claims, version,
                created_at, updated_at, expires_at, body)
            SELECT w.kind, w.key, w.partition, w.state, w.rank, w.due, coalesce(w.due <= moment, false), w.owner,
                w.claims, 1, w.created, w.updated, w.expires, w.body
            FROM unnest(i_after, i_kind, i_key, i_partition, i_state, i_rank, i_due, i_owner, i_claims, i_created,
                i_updated, i_expires, i_body) AS w(after, kind, key, partition, state, rank, due, owner, claims,
                created, updated, expires, body)
            WHERE w.after <> ALL (failed)
            ON CONFLICT DO NOTHING
            RETURNING kind, key
        )
        SELECT array_agg(kind), array_agg(key) INTO kinds, keys FROM inserted;
        IF cardinality(keys) IS DISTINCT FROM cardinality(i_n) THEN
            failed := failed || ARRAY(
                SELECT w.n FROM unnest(i_n, i_kind, i_key) AS w(n, kind, key)
                WHERE (w.kind, w.key) NOT IN (SELECT * FROM unnest(kinds, keys))
            );
        END IF;
    END IF;
    IF e_ts IS NOT NULL THEN
        INSERT INTO {s}.events (ts, event_type, task_id, func, queue, worker, attempt, duration, schedule_id, data)
        SELECT w.ts, w.type, w.task, w.func, w.queue, w.worker, w.attempt, w.duration, w.schedule, w.data
        FROM unnest(e_after, e_ts, e_type, e_task, e_func, e_queue, e_worker, e_attempt, e_duration, e_schedule,
            e_data) AS w(after, ts, type, task, func, queue, worker, attempt, duration, schedule, data)
        WHERE w.after <> ALL (failed);
    END IF;
    RETURN failed;
END
$$;
"""
)

# A claim locks what it takes, and passes over what another claim has locked. With several partitions it first finds
# out, without locking, how many records of each are among the first ones: locking the limit in every partition would
# hide records from claims that run at the same time. A partition that gives less than that (others were faster) is
# left out, and the rest looked at again.
_CLAIM = (
    """
CREATE FUNCTION {s}.claim(
    moment bigint, flush boolean, wanted_kind text, partitions text[], excluded text[], claimer text, n bigint,
    lease bigint
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
    served text[];
    chosen tid[] := '{{}}';
    taken tid[];
    share record;
BEGIN
    IF flush THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    UPDATE {s}.records SET ready = true WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {s}.records WHERE kind = wanted_kind AND NOT ready AND due_at <= present
        ORDER BY due_at LIMIT 10000 FOR UPDATE SKIP LOCKED
    ));
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

CREATE FUNCTION {s}.missing(numbers int[], done int[]) RETURNS int[] LANGUAGE sql IMMUTABLE AS
    'SELECT ARRAY(SELECT unnest(numbers) EXCEPT SELECT unnest(done))';
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

FUNCTIONS = _SMALL + _COUNTERS + _WRITE + _CLAIM
