-- assign_lane_position: gives a transaction's changes their position in a lane, and notifies that lane's listeners.
--
-- Fires:     deferred, at COMMIT, as assign_position(), whose rules it follows.
-- Costs:     as assign_position(); the notification carries the position alone. Commits of the same lane wait for each other
--            here.
-- May raise: what assign_position() may raise; object_not_in_prerequisite_state where the settings of the transaction were
--            forged, so that it takes the locks of its lanes in another order than others do.
--
-- A transaction with changes in several lanes takes all their locks at once, the flags' lock first and then in the order of the
-- lanes' numbers: whichever gets its position first, no two such transactions can wait for each other.
create or replace function flagent_cdc.assign_lane_position() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    -- A plan is kept for the session, and may have been made while the log was small.
    set enable_seqscan = off
    as $$
declare
    -- 'flagent_' in ASCII is the flags' lock, as in assign_position(); 'flag' and a lane's number is that lane's
    commit_order constant bigint := x'666c6167656e745f'::bigint;
    lane_locks   constant bigint := x'666c616700000000'::bigint;
    lanes        text := coalesce(current_setting('flagent_cdc.lanes', true), '');
    open         text[];
    stack        text;
    changes      integer;
    has_nested   boolean;
    channel      text;
    announced    boolean;
    held         bigint;
    lock         bigint;
    "position"   bigint;
    committed_at timestamptz;
    ignored      text;
begin
    get diagnostics stack = pg_context;
    open := string_to_array(current_setting('flagent_cdc.lane_' || new.lane, true), '/');
    if tg_table_name = 'lane_change_log_first' then
        if (new.transaction_group & x'03ffffffffffffff'::bigint) <> flagent_cdc.own_group(new.lane) then
            return null; -- applied by a subscription, as in assign_position()
        elsif not flagent_cdc.is_last_of_commit(
            new.transaction_group, new.lane, new.cmin::text::bigint, 0, open[4] = 'f', null, 0, stack
        ) then
            return null;
        end if;
    elsif not flagent_cdc.is_last_of_commit(
        new.transaction_group, new.lane, new.cmin::text::bigint, new.writes, true, new.requested_at, new.deferrals, stack
    ) then
        return null;
    end if;

    -- Reading the log back by its index would make SERIALIZABLE writers fail each other; for them, a forged place only
    -- changes the size of a page.
    if current_setting('transaction_isolation') = 'serializable' and open[2] = new.transaction_group::text and open[3] <> ''
    then
        select c.id, c.has_nested into changes, has_nested
          from flagent_cdc.lane_change_log c
         where c.ctid = open[3]::tid and c.transaction_group = new.transaction_group
           and c.tableoid = case when open[4] = 'f' then 'flagent_cdc.lane_change_log_first'::regclass
               else 'flagent_cdc.lane_change_log'::regclass end;
    end if;
    if changes is null then
        select c.id, c.has_nested into changes, has_nested
          from flagent_cdc.lane_change_log c
         where c.transaction_group = new.transaction_group
         order by c.id desc
         limit 1;
    end if;
    if has_nested then
        perform flagent_cdc.order_group('lane_change_log', new.transaction_group, new.lane, changes);
    end if;
    -- A change after this one opens a new group.
    perform set_config('flagent_cdc.lane_' || new.lane, '', true);
    select s.channel into channel from flagent_cdc.lane s where s.id = new.lane;
    announced := pg_notification_queue_usage() < 0.9;

    -- Only lanes that exist: the setting can name any number of others.
    -- In an array: a loop over a query opens a cursor, and the writer's next one would get another name.
    foreach lock in array array(
        select commit_order
         where starts_with(current_setting('flagent_cdc.open', true), flagent_cdc.own_group(0) || '/')
        union all
        (
            select lane_locks | l.id
              from flagent_cdc.lane l
             where l.lane_order = 'commit'
               and (
                   l.id = new.lane
                   or split_part(lanes, '/', 1) = pg_current_xact_id()::text
                   and l.id::text = any (string_to_array(split_part(lanes, '/', 2), ','))
               )
             order by l.id
        )
    ) loop
        continue when pg_try_advisory_xact_lock(lock);
        -- Which of them this transaction holds already shows only where it must wait.
        select max((l.classid::bigint << 32) | l.objid::bigint) into held
          from pg_locks l
         where l.locktype = 'advisory' and l.pid = pg_backend_pid() and l.granted and l.classid = x'666c6167'::bigint::oid
           and l.objid < x'656e745f'::bigint::oid;
        if held > lock then
            raise exception using
                errcode = 'object_not_in_prerequisite_state',
                message = 'flagent-cdc: the settings flagent_cdc.* were changed during the transaction';
        end if;
        ignored := flagent_cdc.take_commit_lock(lock, current_setting('lock_timeout'));
    end loop;
    "position" := flagent_cdc.next_position(('flagent_cdc.lane_' || new.lane || '_position')::regclass);
    committed_at := clock_timestamp();
    insert into flagent_cdc.lane_commit_log
        (lane, position, transaction_group, xid, committed_at, changes, session_user_name, application_name)
    values (
        new.lane, "position", new.transaction_group, pg_current_xact_id(), committed_at, changes, session_user,
        current_setting('application_name')
    );
    if announced and channel is not null then
        perform pg_notify(channel, '{"position":' || "position" || '}');
    end if;
    if exists (select from pg_cursor() c where c.is_holdable) then
        perform flagent_cdc.close_group(
            'lane_change_log', new.transaction_group, new.lane, changes,
            case when tg_table_name = 'lane_change_log_first' then new.ctid end
        );
    end if;
    return null;
end
$$;

revoke all on function flagent_cdc.assign_lane_position() from public;
