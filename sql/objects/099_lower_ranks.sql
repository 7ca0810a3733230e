-- lower_ranks: lowers the ranks of changes until each is below those of the changes that it goes before.
--
-- Called by: order_group(), with pairs of a change and one that comes after it, by their indexes.
create or replace function flagent_cdc.lower_ranks(in_ranks bigint[], in_firsts integer[], in_seconds integer[])
    returns bigint[]
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
    set enable_nestloop = off
    as $$
declare
    ranks   bigint[] := in_ranks;
    lowered bigint[];
    moved   bigint;
begin
    -- Each round mends at least one more change of each chain; a circle, which no transaction makes, must not last for ever.
    for round in 1 .. 2 * coalesce(cardinality(ranks), 0) loop
        select array_agg(coalesce(l.rank - 1, r.rank) order by r.index), count(l.rank) into lowered, moved
          from unnest(ranks) with ordinality as r (rank, index)
          left join (
              select x.index, min(n.rank) as rank
                from unnest(in_firsts, in_seconds) as p (first, second)
                join unnest(ranks) with ordinality as x (rank, index) on x.index = p.first
                join unnest(ranks) with ordinality as n (rank, index) on n.index = p.second
               where x.rank >= n.rank
               group by x.index
          ) l on l.index = r.index;
        exit when moved = 0;
        ranks := lowered;
    end loop;
    return ranks;
end
$$;

revoke all on function flagent_cdc.lower_ranks(bigint[], integer[], integer[]) from public;
