-- visible_row: a row with its visible columns, and with its masked ones as null; null for no row.
create or replace function flagent_cdc.visible_row(in_row json, in_visible text[], in_masked text[]) returns json
    language plpgsql
    immutable
    strict
    as $$
declare
    image json;
begin
    select pg_catalog.json_object_agg(
               e.key, case when e.key = any (in_visible) then e.value else 'null'::json end order by e.number
           )
      into image
      from pg_catalog.json_each(in_row) with ordinality as e (key, value, number)
     where e.key = any (in_visible) or e.key = any (in_masked);
    return coalesce(image, '{}');
end
$$;

revoke all on function flagent_cdc.visible_row(json, text[], text[]) from public;
