-- visible_row: a row with its visible columns, and with its masked ones as null; null for no row.
--
-- Costs:     18 µs; where the columns are rendered anew, for the reasons that key_of() gives, 0.1 ms.
create or replace function flagent_cdc.visible_row(
    in_row json, in_visible text[], in_masked text[], in_values record, in_table oid
) returns json
    language plpgsql
    stable
    as $$
declare
    image json;
begin
    if in_row is null then
        return null;
    elsif pg_catalog.octet_length(in_row::text) > 8000 or pg_catalog.strpos(in_row::text, pg_catalog.chr(92) || 'u') > 0 then
        return flagent_cdc.row_json(in_values, in_table, in_visible, in_masked);
    end if;
    select pg_catalog.json_object_agg(
               e.key, case when e.key = any (in_visible) then e.value else 'null'::json end order by e.number
           )
      into image
      from pg_catalog.json_each(in_row) with ordinality as e (key, value, number)
     where e.key = any (in_visible) or e.key = any (in_masked);
    return coalesce(image, '{}');
end
$$;

revoke all on function flagent_cdc.visible_row(json, text[], text[], record, oid) from public;
