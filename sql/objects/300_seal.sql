-- seal: gives the transaction's changes their position in commit order, and tells the listeners.
--
-- Fires:     deferred, at COMMIT, once for the change that opened the transaction's batch.
-- Costs:     one insert, two nextval, one notification, one look at the transaction's own changes; about 60 µs. Commits
--            that changed something wait for each other here, as NOTIFY makes them wait anyway.
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
    -- A plan is kept for the session, and may have been made while the log was small.
    set enable_seqscan = off
    as $$
declare
    most_doubts    constant integer := 8;
    most_changes   constant integer := 64;
    most_bytes     constant integer := 7900; -- a payload must stay below 8000; position and time take 70 at most
    -- 'flagent_' in ASCII: an advisory lock of ours alone, per database
    commit_order   constant bigint := x'666c6167656e745f'::bigint;
    xid            text := pg_current_xact_id();
    texts          text;
    changes        integer;
    stack          text;
    caller         text;
    doubts         integer := 0;
    is_lone        boolean;
    batch_after    bigint;
    channel        text;
    "position"     bigint;
    committed_at   timestamptz;
    is_announced   boolean;
    rest           text;
begin
    if current_setting('flagent_cdc.transaction', true) = xid
        and current_setting('flagent_cdc.batch', true) = new.batch::text
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

    is_lone := tg_table_name = 'change_log_first' and currval('flagent_cdc.lone_batch') = new.batch;
    -- From here on the batch takes no change any more, whatever the settings say: see log_change().
    batch_after := nextval('flagent_cdc.change_batch');
    if is_lone then
        changes := 1;
    elsif changes is null then
        -- The writer reset its settings (RESET ALL, DISCARD) in mid-transaction, or forged them.
        select count(*) into changes from flagent_cdc.change_log c where c.batch = new.batch;
    end if;
    caller := set_config('flagent_cdc.transaction', '', true);

    -- All that can be done before the lock is done before it: who holds it holds up every other writer of flags.
    select i.channel into channel from flagent_cdc.installation i;
    -- A full queue would fail the writer; the listeners find the commit in the log.
    is_announced := pg_notification_queue_usage() < 0.9;
    rest := '","xid":' || xid
        || ',"user":' || to_json(session_user::text)
        || ',"application":' || to_json(current_setting('application_name'));
    -- Announced is what stands in the log, not what a setting says. Several changes are read back, but not many, and not
    -- for SERIALIZABLE writers: reading an index that others write to would make them fail each other.
    if is_lone then
        -- Sizes first: what cannot fit is not even put together.
        if coalesce(octet_length(new.before::text), 0) + coalesce(octet_length(new.after::text), 0) < most_bytes then
            texts := flagent_cdc.change_text(
                new.schema_name, new.table_name, new.op, new.key, new.before, new.after
            );
        end if;
    elsif changes <= most_changes and current_setting('transaction_isolation') <> 'serializable' then
        -- As stored, compressed: what is larger than that need not even be put together.
        select count(*), case when not bool_or(s.text is null) then string_agg(s.text, ',' order by s.id) end
          into changes, texts
          from (
            select c.id,
                   case when coalesce(pg_column_size(c.before), 0) + coalesce(pg_column_size(c.after), 0) < most_bytes
                       then flagent_cdc.change_text(c.schema_name, c.table_name, c.op, c.key, c.before, c.after)
                   end as text
              from flagent_cdc.change_log c
             where c.batch = new.batch
          ) s;
    end if;
    if octet_length(rest) + octet_length(texts) < most_bytes then
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
