-- log_lane_change: writes one change into the log of a lane ordered at commit; assign_lane_position() puts it in order.
--
-- Called by: log_watched_change(), inside the transaction that makes the change.
-- Costs:     like log_change(): one insert and one setting.
-- May raise: only what any insert may raise.
--
-- The open groups travel in transaction-local settings, because a savepoint rolls them back:
--   flagent_cdc.lane_<id>  the lane's open group, the places of its first and its last change, and the last one's number
--   flagent_cdc.lanes      the transaction id, and all lanes that have an open group
-- Any session can set them to anything, and must not be able to hide a change that way, nor to move one out of its order: a
-- change joins a group only if the group's first change is found at its place and carries this transaction's id. Otherwise
-- it opens a new group. Its number follows that of the change found at the last one's place: a forged place leads to a
-- number that is taken, and the writer fails.
create or replace function flagent_cdc.log_lane_change(
    in_lane integer, in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json
) returns void
    language plpgsql
    -- A plan is kept for the session, and may have been made while the log was small: then it would read all of the log for
    -- each change, 0.1 s for the 10 000th.
    set enable_seqscan = off
    as $$
declare
    setting  constant text := 'flagent_cdc.lane_' || in_lane;
    own_xid  constant bigint := pg_catalog.pg_current_xact_id()::text;
    open     text := coalesce(pg_catalog.current_setting(setting, true), '');
    lanes    text := coalesce(pg_catalog.current_setting('flagent_cdc.lanes', true), '');
    in_group bigint;
    in_id    integer;
    first    tid;
    last     tid;
    ignored  text;
begin
    if open ~ '^\d{1,18}/\(\d{1,9},\d{1,5}\)/\(\d{1,9},\d{1,5}\)/\d{1,9}$' then
        in_group := pg_catalog.split_part(open, '/', 1);
        first := pg_catalog.split_part(open, '/', 2);
        last := pg_catalog.split_part(open, '/', 3);
        insert into flagent_cdc.lane_change_log as n
            (transaction_group, id, schema_name, table_name, op, key, before, after)
        select f.transaction_group, coalesce(l.id, 1) + 1, in_schema, in_table, in_op, in_key, in_before, in_after
          from flagent_cdc.lane_change_log_first f
          left join only flagent_cdc.lane_change_log l on l.ctid = last and l.transaction_group = in_group
         where f.ctid = first and f.transaction_group = in_group and f.lane = in_lane and f.xid = own_xid
        returning n.ctid, n.id into last, in_id;
        if found then
            ignored := pg_catalog.set_config(setting, in_group || '/' || first || '/' || last || '/' || in_id, true);
            return;
        end if;
    end if;
    in_group := pg_catalog.nextval('flagent_cdc.lane_transaction_group');
    insert into flagent_cdc.lane_change_log_first as f
        (transaction_group, id, schema_name, table_name, op, key, before, after, lane, xid)
    values (in_group, 1, in_schema, in_table, in_op, in_key, in_before, in_after, in_lane, own_xid)
    returning f.ctid into first;
    ignored := pg_catalog.set_config(setting, in_group || '/' || first || '/(0,0)/1', true)
        || pg_catalog.set_config(
            'flagent_cdc.lanes',
            case when pg_catalog.split_part(lanes, '/', 1) = own_xid::text then lanes || ',' else own_xid || '/' end
                || in_lane,
            true
        );
end
$$;

revoke all on function flagent_cdc.log_lane_change(integer, text, text, text, json, json, json) from public;
