-- log_watched: writes a change of a watched table into the log, with the columns that may be told.
--
-- Called by: capture_watched() and capture_watched_truncate(), with the options that watch() gave their triggers: 0 the id
--            in watched_table, 1 the key's columns, 2 the predicate or '', 3 the table's oid, 4 the open columns or '' for
--            all, 5 their numbers, 6 the masked columns, 7 all columns, 8 the stream's number, 9 its mode. They travel with
--            the table through a dump, and a transaction sees them from the moment in which it can touch the table.
-- Logs:      nothing for an update that changed no column of those chosen.
create or replace function flagent_cdc.log_watched(
    in_table oid, in_schema text, in_name text, in_op text, in_before json, in_after json, in_options text[]
) returns void
    language plpgsql
    as $$
declare
    before_row  json := in_before;
    after_row   json := in_after;
    key_columns text[] := in_options[1];
    open        text[];
    masked      text[];
    key         json;
    ignored     text;
begin
    if in_options[4] <> '' then
        open := flagent_cdc.told_columns(
            in_table, in_options[3]::oid, in_options[4]::text[], in_options[5]::smallint[], in_options[7]::text[]
        );
        masked := in_options[6];
        if in_op = 'update' and flagent_cdc.told_image(before_row, open || masked, '{}')::text
            = flagent_cdc.told_image(after_row, open || masked, '{}')::text
        then
            return;
        end if;
        before_row := flagent_cdc.told_image(before_row, open, masked);
        after_row := flagent_cdc.told_image(after_row, open, masked);
    end if;
    if key_columns <> '{}' then
        key := flagent_cdc.key_of(coalesce(after_row, before_row), key_columns);
    end if;
    ignored := flagent_cdc.log_in_stream(in_options, in_schema, in_name, in_op, key, before_row, after_row);
end
$$;

revoke all on function flagent_cdc.log_watched(oid, text, text, text, json, json, text[]) from public;
