-- order_group: numbers the changes of a group in the order in which they were made.
--
-- Called by: assign_position() and assign_lane_position(), for a group with changes that a trigger made, before they take
--            a lock; order_read_changes() for the changes of the transaction in a lane ordered when read.
-- Costs:     a few looks at all changes of the group, and two updates for each change whose number changes.
--
-- PostgreSQL runs the triggers of a nested statement when that statement ends, and then those of the outer one, in the order
-- of their names. So where a trigger of the writer's changes a row that its own statement has changed, the later change may be
-- logged first. The changes of a row are a chain: each starts from the row version that the one before has made.
--   1. A change goes before the one that starts from its row version, as often as needed.
--   2. An update of Flagent's tables by a statement of the client has no places: see order_statement_changes().
--   3. Rows that had the same key come one after the other: see order_reused_keys().
create or replace function flagent_cdc.order_group(in_log text, in_group bigint, in_lane integer default 0) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    -- The group has no statistics yet: a nested loop could be chosen, and never end for a million changes.
    set enable_nestloop = off
    set jit = off
    as $$
declare
    -- Without it, a join by place reads all of the log.
    ours  constant text := case in_log
        when 'read_order_log' then 'l.lane = $2 and l.xid = $1' else 'l.transaction_group = $1'
    end;
    moved integer;
begin
    loop
        execute format($sql$
            with changes as materialized (
                select c.tableoid, c.ctid, c.place, c.relation, c.new_place,
                       flagent_cdc.logged_version(c.relation, c.old_place) as old_place
                  from (%2$s) c
            ),
            late as (
                select x.tableoid, x.ctid, min(n.place) as place
                  from changes x
                  join changes n on n.relation = x.relation and n.old_place = x.new_place
                 where x.place > n.place
                 group by x.tableoid, x.ctid
            )
            update flagent_cdc.%1$I l
               set place_in_order = t.place - 1
              from late t
             where l.tableoid = t.tableoid and l.ctid = t.ctid and %3$s
        $sql$, in_log, flagent_cdc.group_changes(in_log), ours) using in_group, in_lane;
        get diagnostics moved = row_count;
        exit when moved = 0;
    end loop;
    if in_log = 'change_log' then
        perform flagent_cdc.order_statement_changes(in_group);
    end if;
    perform flagent_cdc.order_reused_keys(in_log, in_group, in_lane);

    if in_log = 'read_order_log' then
        -- The numbers of the changes that stay where they are are far enough from each other.
        execute format($sql$
            with changes as materialized (
                select c.ctid, c.place, c.number, c.place_in_order,
                       count(*) filter (where c.place_in_order is null) over (order by c.place desc, c.number desc) as run
                  from (%s) c
            )
            update flagent_cdc.read_order_log l
               set id = r.id, place_in_order = null
              from (
                select c.ctid, c.place_in_order,
                       first_value(c.number) over w - (row_number() over w - 1) as id
                  from changes c
                window w as (partition by c.run order by c.place desc, c.number desc)
              ) r
             where l.ctid = r.ctid and r.place_in_order is not null and %s
        $sql$, flagent_cdc.group_changes(in_log), ours) using in_group, in_lane;
        return;
    end if;
    -- Negative numbers first: no two changes of a group may have the same, at any moment.
    execute format($sql$
        update flagent_cdc.%1$I l
           set id = -r.new_number, place_in_order = null
          from (
            select c.tableoid, c.ctid, c.number, c.place_in_order,
                   row_number() over (order by c.place, c.place_in_order is null, c.number) as new_number
              from (%2$s) c
          ) r
         where l.tableoid = r.tableoid and l.ctid = r.ctid
           and (r.number <> r.new_number or r.place_in_order is not null) and %3$s
    $sql$, in_log, flagent_cdc.group_changes(in_log), ours) using in_group, in_lane;
    get diagnostics moved = row_count;
    if moved > 0 then
        execute format(
            'update flagent_cdc.%I l set id = -l.id where l.transaction_group = $1 and l.id < 0', in_log
        ) using in_group;
    end if;
end
$$;

revoke all on function flagent_cdc.order_group(text, bigint, integer) from public;
