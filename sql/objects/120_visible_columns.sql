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
    language plpgsql
    stable
    as $$
declare
    told text[];
begin
    if in_table = in_watched then
        select pg_catalog.array_agg(a.attname::text) into told
          from pg_catalog.pg_attribute a
         where a.attrelid = in_table
           and a.attnum = any (in_numbers)
           and a.attname = in_open[pg_catalog.array_position(in_numbers, a.attnum)];
    else
        select pg_catalog.array_agg(a.attname::text) into told
          from pg_catalog.pg_attribute a
         where a.attrelid = in_table and a.attnum > 0 and not a.attisdropped;
        told := case when in_known <@ told then in_open else '{}' end;
    end if;
    return coalesce(told, '{}');
end
$$;

revoke all on function flagent_cdc.told_columns(oid, oid, text[], smallint[], text[]) from public;
