-- change_json: one change as the JSON text that notifications carry.
--
-- Called by: assign_position(), into whose statements the planner inlines it.
create or replace function flagent_cdc.change_json(
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

revoke all on function flagent_cdc.change_json(text, text, text, json, json, json) from public;
