-- seal_stream: gives a transaction's changes their position in a stream of its own, and tells that stream's listeners.
--
-- Fires:     deferred, at COMMIT, once for the change that opened the transaction's batch in the stream.
-- Costs:     as seal(); what is announced is the position alone. Commits of the same stream wait for each other here.
-- May raise: only what any insert may raise, and what seal() says of PREPARE TRANSACTION.
--
-- By the rules of seal(), which explains them: a lock that is taken last and kept until the commit is visible, and another
-- round of deferred triggers where SET CONSTRAINTS has fired this one early. A transaction that belongs to several streams
-- takes all their locks at once, that of the flags first and then in the order of the streams' numbers: whichever is sealed
-- first, no two such transactions can wait for each other.
create or replace function flagent_cdc.seal_stream() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = 0
    -- A plan is kept for the session, and may have been made while the log was small.
    set enable_seqscan = off
    as $$
declare
    most_doubts  constant integer := 8;
    -- 'flagent_' in ASCII is the flags' lock, as in seal(); 'flag' and a stream's number is that stream's
    commit_order constant bigint := x'666c6167656e745f'::bigint;
    stream_order constant integer := x'666c6167'::integer;
    xid          text := pg_current_xact_id();
    open         text := coalesce(current_setting('flagent_cdc.streams', true), '');
    batch        text;
    changes      integer;
    stack        text;
    caller       text;
    doubts       integer := 0;
    channel      text;
    announced    boolean;
    lock         integer;
    "position"   bigint;
    committed_at timestamptz;
begin
    -- Reading the log back would make SERIALIZABLE writers fail each other; a forged number only makes a page of another
    -- size.
    batch := current_setting('flagent_cdc.stream_' || new.stream, true);
    if batch ~ ('^' || new.batch || '/[^/]+/[^/]+/\d{1,9}$') then
        changes := split_part(batch, '/', 4);
    else
        select max(c.id) into changes from flagent_cdc.stream_change_log c where c.batch = new.batch;
    end if;
    get diagnostics stack = pg_context;
    caller := split_part(stack, e'\n', 2);
    if (caller <> '' and caller !~ 'COMMIT$') or current_query() ~* 'constraints.*immediate' then
        if tg_table_name = 'stream_seal_request' then
            if new.asked_at = statement_timestamp() and new.changes = changes then
                doubts := new.doubts;
            end if;
        end if;
        if doubts < most_doubts then
            set constraints flagent_cdc.flagent_cdc_930_seal deferred;
            insert into flagent_cdc.stream_seal_request (batch, stream, changes, asked_at, doubts)
            values (new.batch, new.stream, changes, statement_timestamp(), doubts + 1);
            return null;
        end if;
    end if;

    -- What changes from now on opens a batch of its own.
    perform set_config('flagent_cdc.stream_' || new.stream, '', true);
    select s.channel into channel from flagent_cdc.stream s where s.id = new.stream;
    announced := pg_notification_queue_usage() < 0.9;

    if open ~ '^\d+/\d{1,9}(,\d{1,9})+$' and split_part(open, '/', 1) = xid
        or split_part(current_setting('flagent_cdc.open', true), '/', 1) = xid
    then
        if split_part(current_setting('flagent_cdc.open', true), '/', 1) = xid then
            perform pg_advisory_xact_lock(commit_order);
        end if;
        for lock in
            select s.id::integer from unnest(string_to_array(split_part(open, '/', 2), ',')) as s (id) order by 1
        loop
            perform pg_advisory_xact_lock(stream_order, lock);
        end loop;
    end if;
    perform pg_advisory_xact_lock(stream_order, new.stream);
    "position" := nextval(('flagent_cdc.stream_' || new.stream || '_position')::regclass);
    committed_at := clock_timestamp();
    insert into flagent_cdc.stream_commit_log
        (stream, position, batch, xid, committed_at, changes, session_user_name, application_name)
    values (
        new.stream, "position", new.batch, xid::xid8, committed_at, changes, session_user,
        current_setting('application_name')
    );
    if announced and channel is not null then
        perform pg_notify(channel, '{"position":' || "position" || '}');
    end if;
    return null;
end
$$;

revoke all on function flagent_cdc.seal_stream() from public;
