-- row_json: some columns of a row as JSON, as row_expression() renders them.
--
-- Called by: the capture functions, where to_json() must not render the row, see is_plain(), or where taking its members out could fail,
--            see key_of().
-- Costs:     about 0.1 ms: the text is made and parsed each time, because the table may have changed.
-- May raise: nothing of its own.
create or replace function flagent_cdc.row_json(
    in_row record, in_table oid, in_columns text[] default null, in_masked text[] default '{}'
) returns json
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set standard_conforming_strings = on
    as $$
declare
    image json;
begin
    execute 'select ' || coalesce(flagent_cdc.row_expression(in_table, in_columns, in_masked), '''{}''::json')
        || ' from (select ($1).*) as flagent_cdc_row'
       into image using in_row;
    return image;
end
$$;

revoke all on function flagent_cdc.row_json(record, oid, text[], text[]) from public;
