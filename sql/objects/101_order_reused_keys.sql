-- order_reused_keys: puts the changes of rows that had the same key one row after the other, where a trigger inserted the next row
-- and was logged before the deletion of the one before.
--
-- Called by: order_group(), which has put the changes of each row in order by then. At any time one row has the key: first the
--            one that was there before the transaction, then the others in the order in which they were inserted.
create or replace function flagent_cdc.order_reused_keys(in_log text, in_group bigint, in_lane integer) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    relations oid[];
    keys      text[];
    tables    oid[];
    rows      tid[];
    places    bigint[];
    operations text[];
    befores   tid[];
    afters    tid[];
    ordered   integer[];
    chain     integer[];
    start     integer;
    next      integer;
begin
    execute format(
        'with changes as materialized (select c.place, c.relation, coalesce(c.key::text, substring(coalesce(c.after, c.before)::text,'
        ' ''^[{]"id":([0-9]+)'')) as key, c.op, c.depth from (%s) c)'
        ' select array_agg(r.relation), array_agg(r.key) from (select distinct x.relation, x.key from changes x'
        ' join changes n on n.relation = x.relation and n.key = x.key'
        ' where x.op = ''delete'' and n.op = ''insert'' and n.place < x.place and n.depth > x.depth) r',
        flagent_cdc.group_changes(in_log)
    ) into relations, keys using in_group, in_lane;
    for i in 1 .. coalesce(cardinality(keys), 0) loop
        execute format(
            'select array_agg(c.tableoid order by c.place), array_agg(c.ctid order by c.place),'
            ' array_agg(c.place order by c.place), array_agg(c.op order by c.place), array_agg(v.place order by c.place),'
            ' array_agg(c.new_place order by c.place)'
            ' from (%s) c cross join lateral (select flagent_cdc.logged_version(c.relation, c.old_place) as place) v'
            ' where c.relation = $3 and coalesce(c.key::text, substring(coalesce(c.after, c.before)::text,'
            ' ''^[{]"id":([0-9]+)'')) = $4 and (c.old_place is not null or c.new_place is not null)',
            flagent_cdc.group_changes(in_log)
        ) into tables, rows, places, operations, befores, afters using in_group, in_lane, relations[i], keys[i];
        ordered := '{}';
        -- Twice: the row that was there before, and then those that were inserted.
        for inserted in 0 .. 1 loop
            for head in 1 .. cardinality(rows) loop
                continue when head = any (ordered) or (operations[head] = 'insert')::integer <> inserted
                    or inserted = 0 and befores[head] = any (afters);
                chain := array[head];
                start := head;
                loop
                    next := array_position(befores, afters[start]);
                    exit when next is null or next = any (chain) or operations[start] = 'delete';
                    chain := chain || next;
                    start := next;
                end loop;
                ordered := ordered || chain;
            end loop;
        end loop;
        for n in reverse cardinality(ordered) - 1 .. 1 loop
            if places[ordered[n]] >= places[ordered[n + 1]] then
                places[ordered[n]] := places[ordered[n + 1]] - 1;
                execute format('update flagent_cdc.%I l set place_in_order = $1 where l.tableoid = $2 and l.ctid = $3', in_log)
                  using places[ordered[n]], tables[ordered[n]], rows[ordered[n]];
                -- The update has moved it.
            end if;
        end loop;
    end loop;
end
$$;

revoke all on function flagent_cdc.order_reused_keys(text, bigint, integer) from public;
