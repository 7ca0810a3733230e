-- seal: gives the transaction's changes their position in commit order, and tells the listeners.
--
-- Fires:     deferred, at COMMIT, once for the change that opened the transaction's batch.
-- Costs:     one insert, one nextval, one notification; about 60 µs. Commits that changed something wait for each other
--            here, as NOTIFY makes them wait anyway.
-- May raise: only what any insert may raise. PREPARE TRANSACTION is refused by PostgreSQL itself, as after any NOTIFY.
--
-- The lock makes position order the order of commits: it is released only after the commit has become visible. The
-- writer's own lock_timeout must not turn this short wait into an error, so it is off in here.
--
-- Held until the end of the transaction, the lock must be the last one taken: with row locks still to come, two writers
-- could wait for each other. A deferred trigger is last, unless the writer runs SET CONSTRAINTS ALL IMMEDIATE, which
-- fires it early. Early is, as far as can be told from in here, when the trigger was called from inside a function other
-- than by its COMMIT, or when the client's statement speaks of constraints and immediate. Then the sealing is asked for
-- again through seal_request, whose trigger is set back to deferred and so fires at the earliest in the next round of
-- deferred triggers, of which COMMIT makes as many as are needed. Doubts end after eight rounds in one client
-- statement without a new change: sealing too early is slow, never sealing would be wrong.
create or replace function flagent_cdc.seal() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = 0
    as $$
declare
    most_doubts    constant integer := 8;
    -- 'flagent_' in ASCII: an advisory lock of ours alone, per database
    commit_order   constant bigint := x'666c6167656e745f'::bigint;
    xid            text := pg_current_xact_id();
    texts          text := '';
    changes        integer;
    stack          text;
    caller         text;
    doubts         integer := 0;
    channel        text;
    "position"     bigint;
    committed_at   timestamptz;
    is_announced   boolean;
    rest           text;
begin
    if current_setting('flagent_cdc.transaction', true) = xid and current_setting('flagent_cdc.batch') = new.batch::text
    then
        changes := current_setting('flagent_cdc.count');
    end if;

    get diagnostics stack = pg_context;
    caller := split_part(stack, e'\n', 2);
    if (caller <> '' and caller !~ 'COMMIT$') or current_query() ~* 'constraints.*immediate' then
        if tg_table_name = 'seal_request' then
            if new.asked_at = statement_timestamp() and new.changes is not distinct from changes then
                doubts := new.doubts;
            end if;
        end if;
        if doubts < most_doubts then
            set constraints flagent_cdc.flagent_cdc_910_seal deferred;
            insert into flagent_cdc.seal_request (batch, changes, asked_at, doubts)
            values (new.batch, changes, statement_timestamp(), doubts + 1);
            return null;
        end if;
    end if;

    if changes is null then
        -- The writer reset its settings (RESET ALL, DISCARD) in mid-transaction: count, and let the listeners read.
        select count(*) into changes from flagent_cdc.change_log c where c.batch = new.batch;
    else
        texts := current_setting('flagent_cdc.changes') || set_config('flagent_cdc.transaction', '', true);
    end if;

    -- All that can be done before the lock is done before it: who holds it holds up every other writer of flags.
    select i.channel into channel from flagent_cdc.installation i;
    -- A full queue would fail the writer; the listeners find the commit in the log.
    is_announced := pg_notification_queue_usage() < 0.9;
    rest := '","xid":' || xid
        || ',"user":' || to_json(session_user::text)
        || ',"application":' || to_json(current_setting('application_name'));
    -- A payload must stay below 8000 bytes; position and time, which are put before this, take 70 at most.
    if texts <> '' and octet_length(rest) + octet_length(texts) < 7900 then
        rest := rest || ',"changes":[' || texts || ']}';
    else
        rest := rest || '}';
    end if;

    perform pg_advisory_xact_lock(commit_order);
    "position" := nextval('flagent_cdc.commit_position');
    committed_at := clock_timestamp();
    insert into flagent_cdc.commit_log (position, batch, xid, committed_at, changes, session_user_name, application_name)
    values ("position", new.batch, xid::xid8, committed_at, changes, session_user, current_setting('application_name'));
    if is_announced then
        perform pg_notify(
            channel,
            '{"position":' || "position" || ',"committedAt":"'
                || to_char(committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || rest
        );
    end if;
    return null;
end
$$;

revoke all on function flagent_cdc.seal() from public;
