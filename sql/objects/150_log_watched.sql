-- log_watched: writes a change of a watched table into the log, with its visible columns.
--
-- Called by: capture_watched() and capture_watched_truncate(), with the options that watch() gave their triggers. These
--            travel with the table through a dump, and a transaction sees them from the moment in which it can touch the
--            table.
-- Logs:      nothing for an update that changed no visible or masked column.
create or replace function flagent_cdc.log_watched(
    in_table oid, in_schema text, in_name text, in_op text, in_before json, in_after json,
    in_options flagent_cdc.capture_options
) returns void
    language plpgsql
    as $$
declare
    before_row json := in_before;
    after_row  json := in_after;
    visible    text[];
    key        json;
    ignored    text;
begin
    if in_options.visible_columns is not null then
        visible := flagent_cdc.visible_columns(in_table, in_options);
        if in_op = 'update' and flagent_cdc.visible_row(before_row, visible || in_options.masked_columns, '{}')::text
            = flagent_cdc.visible_row(after_row, visible || in_options.masked_columns, '{}')::text
        then
            return;
        end if;
        before_row := flagent_cdc.visible_row(before_row, visible, in_options.masked_columns);
        after_row := flagent_cdc.visible_row(after_row, visible, in_options.masked_columns);
    end if;
    if in_options.key_columns <> '{}' then
        key := flagent_cdc.key_of(coalesce(after_row, before_row), in_options.key_columns);
    end if;
    ignored := flagent_cdc.log_watched_change(in_options, in_schema, in_name, in_op, key, before_row, after_row);
end
$$;

revoke all on function flagent_cdc.log_watched(oid, text, text, text, json, json, flagent_cdc.capture_options)
    from public;
