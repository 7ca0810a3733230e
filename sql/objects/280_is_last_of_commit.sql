-- is_last_of_commit: whether all other deferred work of the transaction is done, so that the commit-order lock may be taken;
-- if not, has the caller's trigger fire again, later.
--
-- Called by: assign_position(), assign_lane_position() and, with the group 0, order_read_changes().
-- Arguments: the group and its lane; in_cid, the command that queued the trigger, and in_writes, the number of the row in
--            deferred_commit that did, 0 where it was a change; in_is_alone, whether nothing of the group was logged since;
--            in_requested_at and in_deferrals, of that row; in_stack, the trigger's PG_CONTEXT.
-- Costs:     an insert into an unlogged table for a single change; else two, and one more call of the trigger.
-- May raise: object_not_in_prerequisite_state for a function that runs SET CONSTRAINTS … IMMEDIATE a thousand times without
--            a change.
--
-- The lock is kept until the commit is visible. Nothing that follows may wait for another transaction: two transactions would
-- wait for each other, and meanwhile all writers for both. What could follow are other deferred triggers: foreign keys that are
-- checked at COMMIT, and those of the writer. PostgreSQL fires deferred triggers in rounds; what is queued in one is fired in the
-- next. Events are queued by writing commands alone. So the trigger is the last of its round if no command has written since
-- it was queued: the command's number, which a row of deferred_commit gets, is the next one. Until then it is queued
-- again. Rows that this function writes for other lanes are not counted; a forged place of the last one only makes
-- more rounds.
--
-- SET CONSTRAINTS … IMMEDIATE fires the trigger before COMMIT. Then it is deferred too, through the same table, however often.
-- It is early if it was called by an SQL statement inside of a function; or by a client's statement that sets constraints,
-- as often as that says immediate.
create or replace function flagent_cdc.is_last_of_commit(
    in_group bigint, in_lane integer, in_cid bigint, in_writes integer, in_is_alone boolean, in_requested_at timestamptz,
    in_deferrals integer, in_stack text
) returns boolean
    language plpgsql
    -- A plan is kept for the session, and may have been made while the table was small.
    set enable_seqscan = off
    as $$
declare
    most_in_function constant integer := 1000;
    caller    text := '';
    deferrals integer := 1;
    deferred  text;
    writes    integer := in_writes;
    cid       bigint;
    ignored   text;
begin
    if pg_catalog.strpos(in_stack, e'\n') > 0 then
        caller := pg_catalog.split_part(in_stack, e'\n', 2);
        -- A procedural language that commits is named first, a statement that it runs comes after the word SQL, in every
        -- language of the server.
        if pg_catalog.strpos(caller, 'PL/') > 0
            and pg_catalog.strpos(caller, 'PL/') < coalesce(nullif(pg_catalog.strpos(caller, 'SQL'), 0), 2147483647)
        then
            caller := '';
        end if;
    end if;
    if caller <> '' or pg_catalog.strpos(pg_catalog.lower(pg_catalog.current_query()), 'immediate') > 0 then
        if in_requested_at = pg_catalog.statement_timestamp() then
            deferrals := in_deferrals + 1;
        end if;
        if caller <> '' and deferrals > most_in_function then
            raise exception using
                errcode = 'object_not_in_prerequisite_state',
                message = 'flagent-cdc: SET CONSTRAINTS ... IMMEDIATE was run too often without a change';
        elsif caller <> '' or deferrals < pg_catalog.cardinality(pg_catalog.regexp_split_to_array(
            pg_catalog.current_query(), 'constraints[^;]*immediate', 'i'
        )) then
            set constraints flagent_cdc.flagent_cdc_910_assign_position, flagent_cdc.flagent_cdc_930_assign_position,
                flagent_cdc.flagent_cdc_940_order_read_changes deferred;
            insert into flagent_cdc.deferred_commit (transaction_group, lane, xid, writes, requested_at, deferrals)
            values (
                in_group, in_lane, pg_catalog.pg_current_xact_id(), in_writes, pg_catalog.statement_timestamp(), deferrals
            );
            return false;
        end if;
    end if;

    deferred := pg_catalog.current_setting('flagent_cdc.deferred', true);
    if deferred <> '' then
        select greatest(d.writes, in_writes) into writes
          from flagent_cdc.deferred_commit d
         where d.ctid = deferred::tid and d.xid = pg_catalog.pg_current_xact_id();
        writes := coalesce(writes, in_writes);
    end if;
    if in_is_alone then
        writes := writes + 1;
        insert into flagent_cdc.deferred_commit as d (transaction_group, lane, xid, writes, deferrals)
        values (in_group, in_lane, pg_catalog.pg_current_xact_id(), writes, -1)
        returning d.cmin::text::bigint, pg_catalog.set_config('flagent_cdc.deferred', d.ctid::text, true) into cid, ignored;
        if cid - in_cid = writes - in_writes then
            return true;
        end if;
    end if;
    insert into flagent_cdc.deferred_commit as d (transaction_group, lane, xid, writes, deferrals)
    values (in_group, in_lane, pg_catalog.pg_current_xact_id(), writes + 1, 0)
    returning pg_catalog.set_config('flagent_cdc.deferred', d.ctid::text, true) into ignored;
    return false;
end
$$;

revoke all on function flagent_cdc.is_last_of_commit(
    bigint, integer, bigint, integer, boolean, timestamptz, integer, text
) from public;
