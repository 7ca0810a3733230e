-- group_changes: SQL text that selects the changes of this transaction in a log, as c.*, with their places in order: a finer measure
-- than their numbers. $1 is the group, or the transaction in the log of the lanes ordered when read, and $2 the lane.
create or replace function flagent_cdc.group_changes(in_log text) returns text
    language sql
    immutable
    as $$
    select case in_log
        when 'read_order_log' then
            'select c.tableoid, c.ctid, coalesce(c.place_in_order, c.id) as place, c.id::bigint as number, c.*'
            ' from flagent_cdc.read_order_log c where c.lane = $2 and c.xid = $1'
        else pg_catalog.format(
            'select c.tableoid, c.ctid, coalesce(c.place_in_order, c.id::bigint << 20) as place, c.id::bigint as number, c.*'
            ' from flagent_cdc.%I c where c.transaction_group = $1 and $2 is not null', in_log
        )
    end
$$;

revoke all on function flagent_cdc.group_changes(text) from public;
