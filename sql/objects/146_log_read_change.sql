-- log_read_change: writes one change into the log of the lanes that are ordered when read.
--
-- Called by: log_watched_change(). One insert is all: COMMIT does nothing then, and no writer waits for another. Only after a
--            change that a trigger made, COMMIT puts the changes in order: see order_read_changes().
-- Numbers:   a change's number orders all changes of a row, those of other transactions too: it is the place in the write-ahead
--            log at which the change was logged, times 2^10. So many numbers are free before it for changes that are
--            put there.
create or replace function flagent_cdc.log_read_change(
    in_lane integer, in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json, in_relation oid,
    in_old_place tid, in_new_place tid
) returns void
    language plpgsql
    as $$
declare
    own_xid constant xid8 := pg_catalog.pg_current_xact_id();
    open    text;
begin
    insert into flagent_cdc.read_order_log as n (
        lane, xid, id, origin, changed_at, session_user_name, application_name, schema_name, table_name, op, key, before,
        after, relation, old_place, new_place, depth
    )
    values (
        in_lane, own_xid::text::bigint, (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint << 10,
        'flagent_cdc.read_order_log'::regclass, pg_catalog.clock_timestamp(), session_user,
        pg_catalog.current_setting('application_name'), in_schema, in_table, in_op, in_key, in_before, in_after,
        in_relation, in_old_place, in_new_place, pg_catalog.pg_trigger_depth()
    )
    returning case when pg_catalog.current_setting('transaction_isolation') = 'serializable' then
        flagent_cdc.note_places(
            'flagent_cdc.places_' || in_lane, pg_catalog.current_setting('flagent_cdc.places_' || in_lane, true), n.ctid::text
        )
    end into open;
    if pg_catalog.pg_trigger_depth() > 1 then
        open := pg_catalog.current_setting('flagent_cdc.nested_' || in_lane, true);
        if not exists (
            select
              from flagent_cdc.deferred_commit d
             where d.ctid = nullif(open, '')::tid and d.xid = own_xid and d.lane = in_lane
        ) then
            insert into flagent_cdc.deferred_commit as d (transaction_group, lane, xid, writes, deferrals)
            values (0, in_lane, own_xid, 0, 0)
            returning pg_catalog.set_config('flagent_cdc.nested_' || in_lane, d.ctid::text, true) into open;
        end if;
    end if;
end
$$;

revoke all on function flagent_cdc.log_read_change(
    integer, text, text, text, json, json, json, oid, tid, tid
) from public;
