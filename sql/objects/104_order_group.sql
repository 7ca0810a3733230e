-- order_group: numbers the changes of a group in the order in which they were made.
--
-- Called by: assign_position() and assign_lane_position(), for a group with changes that a trigger made, before they take
--            a lock; order_read_changes() for the changes of the transaction in a lane ordered when read.
-- Arguments: the log; the group, or the transaction's id in the log of the lanes ordered when read; the lane; how many changes
--            the group has, null where that is not known.
-- Costs:     reads the changes of the group once, and writes those whose number changes twice.
--
-- PostgreSQL runs the triggers of a nested statement when that statement ends, and then those of the outer one, in the order
-- of their names. So where a trigger of the writer's changes a row that its own statement has changed, the later change may be
-- logged first. The changes of a row are a chain: each starts from the row version that the one before has made.
--   1. A change goes before the one that starts from its row version, as often as needed: see lower_ranks().
--   2. An update of Flagent's tables by a statement of the client has no places: see order_statement_changes().
--   3. Rows that had the same key come one after the other: see reused_keys().
-- Each step changes ranks, a finer measure than numbers.
--
-- The changes are read by the places that note_places() has noted, if these are the whole group. A writer that notes other
-- places only puts the changes of its own transaction into another order.
create or replace function flagent_cdc.order_group(
    in_log text, in_group bigint, in_lane integer default 0, in_changes integer default null
) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    -- Neither the group nor an array has statistics: a nested loop could be chosen, and never end for a million changes.
    set enable_nestloop = off
    set enable_seqscan = off
    -- Restored when the function returns; see read_no_index().
    set enable_indexscan = on
    set enable_bitmapscan = on
    set jit = off
    as $$
declare
    is_read   constant boolean := in_log = 'read_order_log';
    noted     tid[] := flagent_cdc.noted_places('flagent_cdc.places_' || in_lane);
    logs      oid[];
    places    tid[];
    numbers   bigint[];
    relations oid[];
    olds      tid[];
    news      tid[];
    keys      text[];
    operations text[];
    depths    smallint[];
    tables    text[];
    firsts    integer[];
    seconds   integer[];
    ranks     bigint[];
    mixed     text[];
    rows      text[];
    indexes   integer[];
    has_place boolean[];
    are_own   boolean[];
    befores   text[];
    afters    text[];
    own_ranks bigint[];
    old_keys  text[];
    reused    record;
    ignored   text;
begin
    loop
        ignored := flagent_cdc.read_no_index(noted is not null);
        execute format(
            'select array_agg(c.tableoid order by c.number), array_agg(c.ctid order by c.number),'
            ' array_agg(c.number order by c.number), array_agg(c.relation order by c.number),'
            ' array_agg(c.old_place order by c.number), array_agg(c.new_place order by c.number),'
            ' array_agg(coalesce(c.key::text, substring(coalesce(c.after, c.before)::text, ''^[{]"id":([0-9]+)''))'
            ' order by c.number), array_agg(c.op order by c.number), array_agg(c.depth order by c.number),'
            ' array_agg(format(''%%I.%%I'', c.schema_name, c.table_name) order by c.number)'
            ' from (%s) c', flagent_cdc.group_changes(in_log, noted is not null)
        ) into logs, places, numbers, relations, olds, news, keys, operations, depths, tables using in_group, in_lane, noted;
        exit when noted is null or cardinality(places) = coalesce(in_changes, cardinality(noted));
        noted := null;
    end loop;
    -- Between the numbers of two changes of a lane ordered when read are enough others.
    select array_agg(case when is_read then n.number else n.number << 20 end order by n.index) into ranks
      from unnest(numbers) with ordinality as n (number, index);

    olds := flagent_cdc.chain_places(relations, olds);
    select array_agg(x.index::integer), array_agg(n.index::integer) into firsts, seconds
      from unnest(relations, news) with ordinality as x (relation, place, index)
      join unnest(relations, olds) with ordinality as n (relation, place, index)
        on n.relation = x.relation and n.place = x.place;
    ranks := flagent_cdc.lower_ranks(ranks, firsts, seconds);

    if in_log = 'change_log' then
        select array_agg(m.row) into mixed
          from (
              select c.relation || ' ' || c.key as row
                from unnest(relations, keys, operations, news, depths) as c (relation, key, op, place, depth)
               where c.relation is not null and c.key is not null
               group by 1
              having bool_or(c.op = 'update' and c.place is null) and bool_or(c.depth > 1)
          ) m;
        if mixed is not null then
            execute format(
                'with changes as materialized ('
                ' select u.relation || '' '' || u.key as row, u.index, u.rank, c.number, c.is_own, c.before::text, c.after::text,'
                ' c.op <> ''update'' or c.new_place is not null as has_place'
                ' from (%s) c join unnest($4, $5, $6, $7) with ordinality u (number, relation, key, rank, index)'
                ' on u.number = c.number where u.relation || '' '' || u.key = any ($8))'
                ' select array_agg(c.row order by w.place), array_agg(c.index order by w.place), array_agg(c.has_place order by w.place),'
                ' array_agg(coalesce(c.is_own, false) order by w.place), array_agg(c.before order by w.place),'
                ' array_agg(c.after order by w.place), array_agg(c.rank order by w.place)'
                ' from (select x.index, row_number() over (order by x.row, x.rank, x.number) as place from changes x) w'
                ' join changes c on c.index = w.index', flagent_cdc.group_changes(in_log, noted is not null)
            ) into rows, indexes, has_place, are_own, befores, afters, own_ranks
              using in_group, in_lane, noted, numbers, relations, keys, ranks, mixed;
            own_ranks := flagent_cdc.order_statement_changes(rows, has_place, are_own, befores, afters, own_ranks);
            for i in 1 .. cardinality(indexes) loop
                ranks[indexes[i]] := own_ranks[i];
            end loop;
        end if;
    end if;
    if exists (
        select
          from (
              select c.op, c.depth, max(c.depth) filter (where c.op in ('insert', 'update')) over (
                         partition by c.in_table order by c.rank, c.index rows between unbounded preceding and 1 preceding
                     ) as deepest
                from unnest(tables, operations, depths, ranks) with ordinality as c (in_table, op, depth, rank, index)
          ) c
         where c.op in ('delete', 'update') and c.deepest > c.depth
    ) then
        execute format(
            'select array_agg(case c.op when ''delete'' then u.key'
            ' when ''update'' then coalesce(flagent_cdc.key_before(c.before, c.key),'
            ' substring(c.before::text, ''^[{]"id":([0-9]+)'')) end order by c.number)'
            ' from (%s) c join unnest($4, $5) u (number, key) on u.number = c.number',
            flagent_cdc.group_changes(in_log, noted is not null)
        ) into old_keys using in_group, in_lane, noted, numbers, keys;
        select array_agg(case when c.op in ('insert', 'update') then c.key end order by c.index) into keys
          from unnest(operations, keys) with ordinality as c (op, key, index);
        reused := flagent_cdc.reused_keys(tables, relations, olds, news, old_keys, keys, ranks);
        ranks := flagent_cdc.lower_ranks(ranks, firsts || reused.firsts, seconds || reused.seconds);
    end if;
    perform flagent_cdc.renumber_group(in_log, logs, places, numbers, ranks);
end
$$;

revoke all on function flagent_cdc.order_group(text, bigint, integer, integer) from public;
