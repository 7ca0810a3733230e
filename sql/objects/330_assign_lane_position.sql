-- assign_lane_position: gives a transaction's changes their position in a lane, and notifies that lane's listeners.
--
-- Fires:     deferred, at COMMIT, once for the change that opened the transaction's group in the lane.
-- Costs:     as assign_position(); the notification carries the position alone. Commits of the same lane wait for each other
--            here.
-- May raise: only what any insert may raise, and what assign_position() says of PREPARE TRANSACTION.
--
-- Follows the rules of assign_position(), which explains them: a lock that is taken last and kept until the commit is
-- visible, and another round of deferred triggers where SET CONSTRAINTS has fired this one early. A transaction with changes
-- in several lanes takes all their locks at once, the flags' lock first and then in the order of the lanes' numbers:
-- whichever gets its position first, no two such transactions can wait for each other.
create or replace function flagent_cdc.assign_lane_position() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = 0
    -- A plan is kept for the session, and may have been made while the log was small.
    set enable_seqscan = off
    as $$
declare
    most_deferrals  constant integer := 8;
    -- 'flagent_' in ASCII is the flags' lock, as in assign_position(); 'flag' and a lane's number is that lane's
    commit_order constant bigint := x'666c6167656e745f'::bigint;
    lane_lock constant integer := x'666c6167'::integer;
    xid          text := pg_current_xact_id();
    open         text := coalesce(current_setting('flagent_cdc.lanes', true), '');
    in_group     text;
    changes      integer;
    stack        text;
    caller       text;
    deferrals       integer := 0;
    channel      text;
    announced    boolean;
    lock         integer;
    "position"   bigint;
    committed_at timestamptz;
begin
    -- Reading the log back would make SERIALIZABLE writers fail each other; a forged number only changes the size of a
    -- page.
    in_group := current_setting('flagent_cdc.lane_' || new.lane, true);
    if in_group ~ ('^' || new.transaction_group || '/[^/]+/[^/]+/\d{1,9}$') then
        changes := split_part(in_group, '/', 4);
    else
        select max(c.id) into changes from flagent_cdc.lane_change_log c where c.transaction_group = new.transaction_group;
    end if;
    get diagnostics stack = pg_context;
    caller := split_part(stack, e'\n', 2);
    if (caller <> '' and caller !~ 'COMMIT$') or current_query() ~* 'constraints.*immediate' then
        if tg_table_name = 'lane_deferred_commit' then
            if new.requested_at = statement_timestamp() and new.changes = changes then
                deferrals := new.deferrals;
            end if;
        end if;
        if deferrals < most_deferrals then
            set constraints flagent_cdc.flagent_cdc_930_assign_position deferred;
            insert into flagent_cdc.lane_deferred_commit (transaction_group, lane, changes, requested_at, deferrals)
            values (new.transaction_group, new.lane, changes, statement_timestamp(), deferrals + 1);
            return null;
        end if;
    end if;

    -- A change after this one opens a new group.
    perform set_config('flagent_cdc.lane_' || new.lane, '', true);
    select s.channel into channel from flagent_cdc.lane s where s.id = new.lane;
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
            perform pg_advisory_xact_lock(lane_lock, lock);
        end loop;
    end if;
    perform pg_advisory_xact_lock(lane_lock, new.lane);
    "position" := nextval(('flagent_cdc.lane_' || new.lane || '_position')::regclass);
    committed_at := clock_timestamp();
    insert into flagent_cdc.lane_commit_log
        (lane, position, transaction_group, xid, committed_at, changes, session_user_name, application_name)
    values (
        new.lane, "position", new.transaction_group, xid::xid8, committed_at, changes, session_user,
        current_setting('application_name')
    );
    if announced and channel is not null then
        perform pg_notify(channel, '{"position":' || "position" || '}');
    end if;
    return null;
end
$$;

revoke all on function flagent_cdc.assign_lane_position() from public;
