-- change_text: one change as JSON, as notifications carry it.
--
-- Called by: seal(), into whose statements it is merged.
create or replace function flagent_cdc.change_text(
    in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json
) returns text
    language sql
    stable
    as $$
    select pg_catalog.format(
        '{"schema":%s,"table":%s,"op":"%s","key":%s,"before":%s,"after":%s}',
        pg_catalog.to_json(in_schema), pg_catalog.to_json(in_table), in_op,
        coalesce(in_key, 'null'), coalesce(in_before, 'null'), coalesce(in_after, 'null')
    )
$$;

revoke all on function flagent_cdc.change_text(text, text, text, json, json, json) from public;
