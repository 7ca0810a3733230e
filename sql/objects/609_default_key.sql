-- default_key: the columns that identify a row of a table: those of the primary key, else of the replica identity, else of
-- the smallest unique index over columns that are never null. Only keys with visible columns alone count; empty where there
-- is none.
create or replace function flagent_cdc.default_key(in_table oid, in_visible text[]) returns text[]
    language sql
    stable
    as $$
    select coalesce(
        (
            select k.columns
              from pg_catalog.pg_index i
             cross join lateral (
                 select pg_catalog.array_agg(a.attname::text order by p.number) as columns,
                        pg_catalog.bool_and(a.attnotnull) as never_null
                   from pg_catalog.unnest(i.indkey::smallint[]) with ordinality as p (attnum, number)
                   left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = p.attnum
                  where p.number <= i.indnkeyatts
             ) k
             where i.indrelid = in_table
               and i.indisunique and i.indimmediate and i.indisvalid
               and i.indpred is null and i.indexprs is null
               and k.never_null
               and k.columns <@ in_visible
             order by not i.indisprimary, not i.indisreplident, i.indnkeyatts, i.indexrelid
             limit 1
        ),
        '{}'
    )
$$;

revoke all on function flagent_cdc.default_key(oid, text[]) from public;
