-- told_image: a row with its open columns, and with its masked ones as null; null for no row.
create or replace function flagent_cdc.told_image(in_row json, in_open text[], in_masked text[]) returns json
    language plpgsql
    immutable
    strict
    as $$
declare
    image json;
begin
    select pg_catalog.json_object_agg(
               e.key, case when e.key = any (in_open) then e.value else 'null'::json end order by e.number
           )
      into image
      from pg_catalog.json_each(in_row) with ordinality as e (key, value, number)
     where e.key = any (in_open) or e.key = any (in_masked);
    return coalesce(image, '{}');
end
$$;

revoke all on function flagent_cdc.told_image(json, text[], text[]) from public;
