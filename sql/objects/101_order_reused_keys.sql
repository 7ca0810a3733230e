-- order_reused_keys: puts the changes of rows that had the same key one row after the other, where a trigger inserted the next row
-- and was logged before the deletion of the one before.
--
-- Called by: order_group(), which has put the changes of each row in order by then. At any time one row has the key: first the
--            one that was there before the transaction, then the others in the order in which they were inserted.
-- Arguments: of each change, in the order of their numbers: the table, the places of the row's version before and after, the
--            key, the operation, the depth of triggers and the rank.
-- Answers:   the ranks.
create or replace function flagent_cdc.order_reused_keys(
    in_relations oid[], in_old_places tid[], in_new_places tid[], in_keys text[], in_operations text[], in_depths smallint[],
    in_ranks bigint[]
) returns bigint[]
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
    set enable_nestloop = off
    as $$
declare
    ranks     bigint[] := in_ranks;
    relations oid[];
    keys      text[];
    rows      integer[];
    befores   tid[];
    afters    tid[];
    operations text[];
    ordered   integer[];
    chain     integer[];
    start     integer;
    next      integer;
begin
    with changes as materialized (
        select c.*
          from unnest(in_relations, in_keys, in_operations, in_depths, in_ranks) as c (relation, key, op, depth, rank)
    )
    select array_agg(r.relation), array_agg(r.key) into relations, keys
      from (
          select distinct x.relation, x.key
            from changes x
            join changes n on n.relation = x.relation and n.key = x.key
           where x.op = 'delete' and n.op = 'insert' and n.rank < x.rank and n.depth > x.depth
      ) r;
    for i in 1 .. coalesce(cardinality(keys), 0) loop
        select array_agg(c.number::integer order by c.rank, c.number), array_agg(c.old_place order by c.rank, c.number),
               array_agg(c.new_place order by c.rank, c.number), array_agg(c.op order by c.rank, c.number)
          into rows, befores, afters, operations
          from unnest(in_relations, in_keys, in_old_places, in_new_places, in_operations, ranks) with ordinality
               as c (relation, key, old_place, new_place, op, rank, number)
         where c.relation = relations[i] and c.key = keys[i] and (c.old_place is not null or c.new_place is not null);
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
            ranks[rows[ordered[n]]] := least(ranks[rows[ordered[n]]], ranks[rows[ordered[n + 1]]] - 1);
        end loop;
    end loop;
    return ranks;
end
$$;

revoke all on function flagent_cdc.order_reused_keys(oid[], tid[], tid[], text[], text[], smallint[], bigint[]) from public;
