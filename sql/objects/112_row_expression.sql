-- row_expression: SQL text for some columns of a row as JSON, in the order of the table, and for others as null; without names
-- all columns. Virtual generated columns are left out: a trigger does not get their values.
--
-- The row is called flagent_cdc_row. No name in the text can be mistaken for a column: columns have the row's name before
-- them, and whole rows a .* behind.
create or replace function flagent_cdc.row_expression(
    in_table oid, in_columns text[] default null, in_masked text[] default '{}'
) returns text
    language sql
    stable
    as $$
    select pg_catalog.format(
        '(select pg_catalog.to_json(flagent_cdc_image.*) from (select %s) flagent_cdc_image)',
        pg_catalog.string_agg(
            pg_catalog.format(
                '%s as %I',
                case
                    when a.attname = any (in_masked) and a.attname <> all (in_columns) then 'null'
                    when flagent_cdc.calls_cast(a.atttypid) then flagent_cdc.json_expression(
                        pg_catalog.format('flagent_cdc_row.%I', a.attname), a.atttypid
                    )
                    else pg_catalog.format('flagent_cdc_row.%I', a.attname)
                end,
                a.attname
            ),
            ', ' order by a.attnum
        )
    )
      from pg_catalog.pg_attribute a
     where a.attrelid = in_table and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
       and (in_columns is null or a.attname = any (in_columns || in_masked))
$$;

revoke all on function flagent_cdc.row_expression(oid, text[], text[]) from public;
