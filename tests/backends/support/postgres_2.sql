-- What OmniQ's schema was at version 2, {s} being its name.

CREATE SCHEMA {s};

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

CREATE INDEX records_later ON {s}.records (kind, due_at)
    WHERE NOT ready AND due_at IS NOT NULL AND state <> 'running';
CREATE INDEX records_running ON {s}.records (kind, ready, due_at) WHERE state = 'running';
CREATE INDEX records_groups ON {s}.records (kind, partition, state, key) WHERE state <> '' AND state <> 'running';

CREATE TABLE {s}.events (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(), id bigint NOT NULL DEFAULT nextval('{s}.event_ids'),
    min_ts bigint NOT NULL, max_ts bigint NOT NULL, n integer NOT NULL, ts bigint[] NOT NULL, attempt bigint[] NOT NULL,
    duration float8[], event_type text[] COLLATE "C" NOT NULL, task_id text[] COLLATE "C", func text[] COLLATE "C",
    queue text[] COLLATE "C", worker text[] COLLATE "C", schedule_id text[] COLLATE "C", data text[]
) WITH (autovacuum_vacuum_scale_factor = .01, autovacuum_vacuum_insert_scale_factor = .05);
CREATE INDEX events_log ON {s}.events (xid, id);
CREATE INDEX events_ts ON {s}.events (max_ts, xid, id);
CREATE INDEX events_oldest ON {s}.events (min_ts);

CREATE FUNCTION {s}.now() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint';

CREATE FUNCTION {s}.missing(numbers int[], done int[]) RETURNS int[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF cardinality(numbers) = cardinality(done) THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(SELECT unnest(numbers) EXCEPT SELECT unnest(done));
END
$$;

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

CREATE FUNCTION {s}.write(
    moment bigint, flush boolean, channel text, hint text, r_n int[], r_kind text[], r_key text[], r_version bigint[], r_created bigint[], r_partition text[], r_state text[], r_rank bigint[], r_due bigint[], r_owner text[], r_claims bigint[], r_updated bigint[], r_expires bigint[], r_body bytea[], x_n int[], x_kind text[], x_key text[], x_version bigint[], x_created bigint[], x_due bigint[], d_n int[], d_kind text[], d_key text[], d_version bigint[], d_created bigint[], i_n int[], i_kind text[], i_key text[], i_after int[], i_created bigint[], i_partition text[], i_state text[], i_rank bigint[], i_due bigint[], i_owner text[], i_claims bigint[], i_updated bigint[], i_expires bigint[], i_body bytea[], e_after int[], e_ts bigint[], e_type text[], e_task text[], e_func text[], e_queue text[], e_worker text[], e_attempt bigint[], e_duration float8[], e_schedule text[], e_data text[]
) RETURNS int[] LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off AS $$
DECLARE
    failed int[] := '{}';
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
            FROM (SELECT coalesce(x.n, r_n[1]) AS n, coalesce(x.kind, r_kind[1]) AS kind, coalesce(x.key, r_key[1]) AS key, coalesce(x.version, r_version[1]) AS version, coalesce(x.created, r_created[1]) AS created, coalesce(x.partition, r_partition[1]) AS partition, coalesce(x.state, r_state[1]) AS state, coalesce(x.rank, r_rank[1]) AS rank, CASE cardinality(r_due) WHEN 1 THEN r_due[1] ELSE x.due END AS due, CASE cardinality(r_owner) WHEN 1 THEN r_owner[1] ELSE x.owner END AS owner, coalesce(x.claims, r_claims[1]) AS claims, coalesce(x.updated, r_updated[1]) AS updated, CASE cardinality(r_expires) WHEN 1 THEN r_expires[1] ELSE x.expires END AS expires, CASE cardinality(r_body) WHEN 1 THEN r_body[1] ELSE x.body END AS body FROM unnest(r_n, r_kind, r_key, r_version, r_created, r_partition, r_state, r_rank, r_due, r_owner, r_claims, r_updated, r_expires, r_body) AS x(n, kind, key, version, created, partition, state, rank, due, owner, claims, updated, expires, body)) AS w WHERE r.kind = w.kind AND r.key = w.key AND r.version = w.version AND r.created_at = w.created RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM replaced;
        failed := failed || {s}.missing(r_n, done);
    END IF;
    IF x_n IS NOT NULL THEN
        WITH extended AS (
            UPDATE {s}.records r SET due_at = w.due, ready = w.due <= moment
            FROM (SELECT coalesce(x.n, x_n[1]) AS n, coalesce(x.kind, x_kind[1]) AS kind, coalesce(x.key, x_key[1]) AS key, coalesce(x.version, x_version[1]) AS version, coalesce(x.created, x_created[1]) AS created, coalesce(x.due, x_due[1]) AS due FROM unnest(x_n, x_kind, x_key, x_version, x_created, x_due) AS x(n, kind, key, version, created, due)) AS w WHERE r.kind = w.kind AND r.key = w.key AND r.version = w.version AND r.created_at = w.created RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM extended;
        failed := failed || {s}.missing(x_n, done);
    END IF;
    IF d_n IS NOT NULL THEN
        WITH deleted AS (
            DELETE FROM {s}.records r USING (SELECT coalesce(x.n, d_n[1]) AS n, coalesce(x.kind, d_kind[1]) AS kind, coalesce(x.key, d_key[1]) AS key, coalesce(x.version, d_version[1]) AS version, coalesce(x.created, d_created[1]) AS created FROM unnest(d_n, d_kind, d_key, d_version, d_created) AS x(n, kind, key, version, created)) AS w WHERE r.kind = w.kind AND r.key = w.key AND r.version = w.version AND r.created_at = w.created RETURNING w.n
        )
        SELECT array_agg(n) INTO done FROM deleted;
        failed := failed || {s}.missing(d_n, done);
    END IF;
    IF i_n IS NOT NULL THEN
        -- As a rule no key is there yet, and not to provide for it saves a quarter of the work.
        BEGIN
            INSERT INTO {s}.records (kind, key, partition, state, rank, due_at, ready, owner, claims, version,
                created_at, updated_at, expires_at, body)
            SELECT w.kind, w.key, w.partition, w.state, w.rank, w.due, coalesce(w.due <= moment, false), w.owner,
                w.claims, 1, w.created, w.updated, w.expires, w.body
            FROM (SELECT coalesce(x.n, i_n[1]) AS n, coalesce(x.kind, i_kind[1]) AS kind, coalesce(x.key, i_key[1]) AS key, coalesce(x.after, i_after[1]) AS after, coalesce(x.created, i_created[1]) AS created, coalesce(x.partition, i_partition[1]) AS partition, coalesce(x.state, i_state[1]) AS state, coalesce(x.rank, i_rank[1]) AS rank, CASE cardinality(i_due) WHEN 1 THEN i_due[1] ELSE x.due END AS due, CASE cardinality(i_owner) WHEN 1 THEN i_owner[1] ELSE x.owner END AS owner, coalesce(x.claims, i_claims[1]) AS claims, coalesce(x.updated, i_updated[1]) AS updated, CASE cardinality(i_expires) WHEN 1 THEN i_expires[1] ELSE x.expires END AS expires, coalesce(x.body, i_body[1]) AS body FROM unnest(i_n, i_kind, i_key, i_after, i_created, i_partition, i_state, i_rank, i_due, i_owner, i_claims, i_updated, i_expires, i_body) AS x(n, kind, key, after, created, partition, state, rank, due, owner, claims, updated, expires, body)) AS w WHERE w.after <> ALL (failed);
            IF failed <> '{}' THEN
                failed := failed || ARRAY(SELECT w.n FROM (SELECT coalesce(x.n, i_n[1]) AS n, coalesce(x.kind, i_kind[1]) AS kind, coalesce(x.key, i_key[1]) AS key, coalesce(x.after, i_after[1]) AS after, coalesce(x.created, i_created[1]) AS created, coalesce(x.partition, i_partition[1]) AS partition, coalesce(x.state, i_state[1]) AS state, coalesce(x.rank, i_rank[1]) AS rank, CASE cardinality(i_due) WHEN 1 THEN i_due[1] ELSE x.due END AS due, CASE cardinality(i_owner) WHEN 1 THEN i_owner[1] ELSE x.owner END AS owner, coalesce(x.claims, i_claims[1]) AS claims, coalesce(x.updated, i_updated[1]) AS updated, CASE cardinality(i_expires) WHEN 1 THEN i_expires[1] ELSE x.expires END AS expires, coalesce(x.body, i_body[1]) AS body FROM unnest(i_n, i_kind, i_key, i_after, i_created, i_partition, i_state, i_rank, i_due, i_owner, i_claims, i_updated, i_expires, i_body) AS x(n, kind, key, after, created, partition, state, rank, due, owner, claims, updated, expires, body)) AS w WHERE w.after = ANY (failed));
            END IF;
        EXCEPTION WHEN unique_violation THEN
            WITH inserted AS (INSERT INTO {s}.records (kind, key, partition, state, rank, due_at, ready, owner, claims, version,
                created_at, updated_at, expires_at, body)
            SELECT w.kind, w.key, w.partition, w.state, w.rank, w.due, coalesce(w.due <= moment, false), w.owner,
                w.claims, 1, w.created, w.updated, w.expires, w.body
            FROM (SELECT coalesce(x.n, i_n[1]) AS n, coalesce(x.kind, i_kind[1]) AS kind, coalesce(x.key, i_key[1]) AS key, coalesce(x.after, i_after[1]) AS after, coalesce(x.created, i_created[1]) AS created, coalesce(x.partition, i_partition[1]) AS partition, coalesce(x.state, i_state[1]) AS state, coalesce(x.rank, i_rank[1]) AS rank, CASE cardinality(i_due) WHEN 1 THEN i_due[1] ELSE x.due END AS due, CASE cardinality(i_owner) WHEN 1 THEN i_owner[1] ELSE x.owner END AS owner, coalesce(x.claims, i_claims[1]) AS claims, coalesce(x.updated, i_updated[1]) AS updated, CASE cardinality(i_expires) WHEN 1 THEN i_expires[1] ELSE x.expires END AS expires, coalesce(x.body, i_body[1]) AS body FROM unnest(i_n, i_kind, i_key, i_after, i_created, i_partition, i_state, i_rank, i_due, i_owner, i_claims, i_updated, i_expires, i_body) AS x(n, kind, key, after, created, partition, state, rank, due, owner, claims, updated, expires, body)) AS w WHERE w.after <> ALL (failed) ON CONFLICT DO NOTHING RETURNING kind, key)
            SELECT array_agg(kind), array_agg(key) INTO kinds, keys FROM inserted;
            failed := failed || ARRAY(
                SELECT w.n FROM (SELECT coalesce(x.n, i_n[1]) AS n, coalesce(x.kind, i_kind[1]) AS kind, coalesce(x.key, i_key[1]) AS key, coalesce(x.after, i_after[1]) AS after, coalesce(x.created, i_created[1]) AS created, coalesce(x.partition, i_partition[1]) AS partition, coalesce(x.state, i_state[1]) AS state, coalesce(x.rank, i_rank[1]) AS rank, CASE cardinality(i_due) WHEN 1 THEN i_due[1] ELSE x.due END AS due, CASE cardinality(i_owner) WHEN 1 THEN i_owner[1] ELSE x.owner END AS owner, coalesce(x.claims, i_claims[1]) AS claims, coalesce(x.updated, i_updated[1]) AS updated, CASE cardinality(i_expires) WHEN 1 THEN i_expires[1] ELSE x.expires END AS expires, coalesce(x.body, i_body[1]) AS body FROM unnest(i_n, i_kind, i_key, i_after, i_created, i_partition, i_state, i_rank, i_due, i_owner, i_claims, i_updated, i_expires, i_body) AS x(n, kind, key, after, created, partition, state, rank, due, owner, claims, updated, expires, body)) AS w WHERE (w.kind, w.key) NOT IN (SELECT * FROM unnest(kinds, keys))
            );
        END;
    END IF;
    IF e_after && failed THEN
        SELECT array_agg(w.after), array_agg(w.ts), array_agg(w.type), array_agg(w.task), array_agg(w.func), array_agg(w.queue), array_agg(w.worker), array_agg(w.attempt), array_agg(w.duration), array_agg(w.schedule), array_agg(w.data) INTO e_after, e_ts, e_type, e_task, e_func, e_queue, e_worker, e_attempt, e_duration, e_schedule, e_data FROM (SELECT coalesce(x.after, e_after[1]) AS after, coalesce(x.ts, e_ts[1]) AS ts, coalesce(x.type, e_type[1]) AS type, CASE cardinality(e_task) WHEN 1 THEN e_task[1] ELSE x.task END AS task, CASE cardinality(e_func) WHEN 1 THEN e_func[1] ELSE x.func END AS func, CASE cardinality(e_queue) WHEN 1 THEN e_queue[1] ELSE x.queue END AS queue, CASE cardinality(e_worker) WHEN 1 THEN e_worker[1] ELSE x.worker END AS worker, coalesce(x.attempt, e_attempt[1]) AS attempt, CASE cardinality(e_duration) WHEN 1 THEN e_duration[1] ELSE x.duration END AS duration, CASE cardinality(e_schedule) WHEN 1 THEN e_schedule[1] ELSE x.schedule END AS schedule, CASE cardinality(e_data) WHEN 1 THEN e_data[1] ELSE x.data END AS data FROM unnest(e_after, e_ts, e_type, e_task, e_func, e_queue, e_worker, e_attempt, e_duration, e_schedule, e_data) AS x(after, ts, type, task, func, queue, worker, attempt, duration, schedule, data)) AS w WHERE w.after <> ALL (failed);
    END IF;
    IF e_after IS NOT NULL THEN
        INSERT INTO {s}.events
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

CREATE FUNCTION {s}.claim(
    moment bigint, deadline bigint, flush boolean, wanted_kind text, partitions text[], excluded text[], claimer text,
    n bigint, lease bigint
) RETURNS TABLE (
    kind text, key text, partition text, state text, rank bigint, due_at bigint, owner text, claims bigint,
    version bigint, created_at bigint, updated_at bigint, expires_at bigint, body bytea
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    present bigint := coalesce(moment, {s}.now());
    ordered boolean := partitions IS NOT NULL;
    due tid[];
    served text[];
    chosen tid[] := '{}';
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

CREATE TRIGGER tally_insert AFTER INSERT ON {s}.records REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {s}.tally_insert();
CREATE TRIGGER tally_update AFTER UPDATE ON {s}.records REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {s}.tally_update();
CREATE TRIGGER tally_delete AFTER DELETE ON {s}.records REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION {s}.tally_delete();

INSERT INTO {s}.version VALUES (2);
