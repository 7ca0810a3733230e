-- told_columns: which of a watched table's open columns may still be told, by name.
--
-- Called by: capture_watched(), for tables that are watched with columns included, excluded or masked.
-- Costs:     one look at the catalog, about 10 µs.
--
-- A name is not enough: a hidden column that was renamed to an open one's name must stay hidden. So an open column is
-- told while the number that it had in the table when it was watched still has its name. A restored table is another
-- one, with numbers of its own; there the names count, and only while all are there that were there when it was watched.
create or replace function flagent_cdc.told_columns(
    in_table oid, in_watched oid, in_open text[], in_numbers smallint[], in_known text[]
) returns text[]
    language sql
    stable
    as $$
    select coalesce(pg_catalog.array_agg(a.attname::text), '{}')
      from rows from (pg_catalog.unnest(in_open), pg_catalog.unnest(in_numbers)) as open (name, number)
      join pg_catalog.pg_attribute a
        on a.attrelid = in_table and a.attname = open.name::name and not a.attisdropped
     where case
         when in_table = in_watched then a.attnum = open.number
         else in_known <@ array(
             select k.attname::text
               from pg_catalog.pg_attribute k
              where k.attrelid = in_table and k.attnum > 0 and not k.attisdropped
         )
     end
$$;

revoke all on function flagent_cdc.told_columns(oid, oid, text[], smallint[], text[]) from public;
