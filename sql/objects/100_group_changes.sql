-- group_changes: SQL text that selects the changes of this transaction in a log. $1 is the group, or the transaction in the log of
-- the lanes ordered when read, $2 the lane, and $3 the places where the changes are stored, if in_by_place: the first one is
-- that of the group's first change, which has a table of its own.
create or replace function flagent_cdc.group_changes(in_log text, in_by_place boolean) returns text
    language sql
    immutable
    as $$
    select pg_catalog.format(
        case
            when in_log = 'read_order_log' and in_by_place then '%1$s where c.ctid = any ($3) and c.lane = $2 and c.xid = $1'
            when in_log = 'read_order_log' then '%1$s where c.lane = $2 and c.xid = $1 and $3 is null'
            -- Each table alone: the same place in the other one may be a row of somebody else.
            when in_by_place then
                '%2$s where c.ctid = ($3)[1] and c.transaction_group = $1 and $2 is not null'
                ' union all %3$s where c.ctid = any (($3)[2:]) and c.transaction_group = $1'
            else '%1$s where c.transaction_group = $1 and $2 is not null and $3 is null'
        end,
        s.selected || ' from flagent_cdc.' || in_log || ' c', s.selected || ' from flagent_cdc.' || in_log || '_first c',
        s.selected || ' from only flagent_cdc.' || in_log || ' c'
    )
      from (
          select 'select c.tableoid, c.ctid, c.id::bigint as number, c.relation, c.old_place, c.new_place, c.depth, c.op, c.key,'
              || ' c.before, c.after, c.schema_name, c.table_name, '
              || case in_log when 'change_log' then 'c.is_own' else 'null::boolean as is_own' end
      ) s (selected)
$$;

revoke all on function flagent_cdc.group_changes(text, boolean) from public;
