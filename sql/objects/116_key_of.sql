-- key_of: the key columns of a row, as JSON; null where the row lacks one of them.
--
-- Costs:     2 µs for a key of one column; for more, 10 µs; where the columns are rendered anew, 0.1 ms.
--
-- Taking a member out of JSON decodes all of it, and fails for what a json column may hold but text may not: \u0000, half a
-- surrogate pair, a value nested too deep for the stack that is left. No write may fail for that, so the key of a row with
-- an escape in it, or of a long one, is rendered anew from its columns.
create or replace function flagent_cdc.key_of(in_row json, in_columns text[], in_values record, in_table oid) returns json
    language plpgsql
    stable
    as $$
declare
    name constant text := in_columns[1];
    key  json;
begin
    if pg_catalog.octet_length(in_row::text) > 8000 or pg_catalog.strpos(in_row::text, pg_catalog.chr(92) || 'u') > 0 then
        if exists (
            select
              from pg_catalog.unnest(in_columns) c (name)
             where c.name not in (
                 select a.attname::text
                   from pg_catalog.pg_attribute a
                  where a.attrelid = in_table and a.attnum > 0 and not a.attisdropped
             )
        ) then
            return null;
        end if;
        key := flagent_cdc.row_json(in_values, in_table, in_columns);
        begin
            if pg_catalog.array_length(in_columns, 1) = 1 then
                return pg_catalog.json_build_object(name, key operator(pg_catalog.->) name);
            end if;
            return (
                select pg_catalog.json_object_agg(c.name, key operator(pg_catalog.->) c.name order by c.number)
                  from pg_catalog.unnest(in_columns) with ordinality as c (name, number)
            );
        exception
            when others then return key; -- the key itself holds such a value
        end;
    end if;
    key := in_row operator(pg_catalog.->) name;
    if key is null then
        return null;
    elsif pg_catalog.array_length(in_columns, 1) = 1 then
        return pg_catalog.json_build_object(name, key);
    end if;
    select case when pg_catalog.bool_and(in_row operator(pg_catalog.->) c.name is not null)
        then pg_catalog.json_object_agg(c.name, in_row operator(pg_catalog.->) c.name)
    end
      into key
      from pg_catalog.unnest(in_columns) as c (name);
    return key;
end
$$;

revoke all on function flagent_cdc.key_of(json, text[], record, oid) from public;
