-- reused_keys: which changes go before which, because a row can only get a key that the row before has left.
--
-- Called by: order_group(), which has put the changes of each row in order by then. At any time one row has a key: first the
--            one that had it before the transaction, then those that got it, each until it lost it. The last one may
--            still have it.
-- Arguments: of each change, in the order of their numbers: the table whose rows have the keys, the table or partition that holds the
--            row, the places of its version before and after, its keys before and after, null where it did not exist, and
--            the rank.
-- Answers:   pairs of a change by which a row loses its key, and the one by which the next row gets it, by their indexes.
create or replace function flagent_cdc.reused_keys(
    in_tables text[], in_relations oid[], in_old_places tid[], in_new_places tid[], in_old_keys text[], in_new_keys text[],
    in_ranks bigint[], out firsts integer[], out seconds integer[]
)
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
    set enable_nestloop = off
    as $$
declare
    -- Of each change, the first change of its row, by its index.
    heads   integer[];
    farther integer[];
    moved   bigint;
begin
    -- From a change to the one before it, and then twice as far in each round.
    select array_agg(coalesce(x.index, n.index)::integer order by n.index) into heads
      from unnest(in_relations, in_old_places) with ordinality as n (relation, place, index)
      left join unnest(in_relations, in_new_places) with ordinality as x (relation, place, index)
        on x.relation = n.relation and x.place = n.place;
    loop
        select array_agg(x.head order by n.index), count(*) filter (where x.head <> n.head) into farther, moved
          from unnest(heads) with ordinality as n (head, index)
          join unnest(heads) with ordinality as x (head, index) on x.index = n.head;
        exit when moved = 0;
        heads := farther;
    end loop;

    with changes as (
        select c.*
          from unnest(in_tables, in_relations, heads, in_old_keys, in_new_keys, in_ranks) with ordinality
               as c (in_table, relation, head, old_key, new_key, rank, index)
         where c.relation is not null and c.old_key is distinct from c.new_key
    ), events as (
        select c.in_table, c.old_key as key, c.head, c.rank, null::bigint as got, c.index as lost
          from changes c
         where c.old_key is not null
        union all
        select c.in_table, c.new_key, c.head, c.rank, c.index, null
          from changes c
         where c.new_key is not null
    ), followed as (
        select e.*, lag(e.got) over w as got_before, lead(e.lost) over w as lost_after
          from events e
        window w as (partition by e.in_table, e.key, e.head order by e.rank)
    ), holders as (
        -- From getting the key, if that was in this transaction, to losing it.
        select f.in_table, f.key, f.got, f.lost_after as lost, f.rank from followed f where f.got is not null
        union all
        select f.in_table, f.key, null, f.lost, f.rank from followed f where f.lost is not null and f.got_before is null
    )
    select array_agg(h.lost::integer), array_agg(h.got::integer) into firsts, seconds
      from (
          select h.lost,
                 lead(h.got) over (
                     partition by h.in_table, h.key order by h.got is not null, h.lost is null, h.rank
                 ) as got
            from holders h
      ) h
     where h.lost is not null and h.got is not null;
end
$$;

revoke all on function flagent_cdc.reused_keys(text[], oid[], tid[], tid[], text[], text[], bigint[]) from public;
