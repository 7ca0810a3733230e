-- published_columns: the columns that the events of a watched table's rows have: their attribute numbers, names and types, in
-- the table's order. A masked column is one of them.
--
-- Called by: watch() and log_schema_change().
create or replace function flagent_cdc.published_columns(in_table oid, in_options flagent_cdc.capture_options)
    returns jsonb
    language plpgsql
    stable
    -- One spelling of a type, whatever the session has set.
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
    as $$
declare
    published text[];
begin
    if in_options.visible_columns is not null then
        published := flagent_cdc.visible_columns(in_table, in_options) || in_options.masked_columns;
    end if;
    return coalesce((
        select jsonb_agg(
                   jsonb_build_object('number', a.attnum, 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod))
                   order by a.attnum
               )
          from pg_attribute a
         where a.attrelid = in_table and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
           and (published is null or a.attname::text = any (published))
    ), '[]');
end
$$;

revoke all on function flagent_cdc.published_columns(oid, flagent_cdc.capture_options) from public;
