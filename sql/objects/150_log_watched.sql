-- log_watched: writes a change of a watched table into the log, with its visible columns.
--
-- Called by: capture_watched() and capture_watched_truncate(), with the options that watch() gave their triggers. These
--            travel with the table through a dump, and a transaction sees them from the moment in which it can touch the
--            table.
-- Arguments: in_relation is the table or partition that holds the row, in_watched the table that is watched; in_old and in_new
--            are the rows of in_before and in_after, and the places where they are stored.
-- Logs:      nothing for an update that changed no visible or masked column.
create or replace function flagent_cdc.log_watched(
    in_watched oid, in_relation oid, in_schema text, in_name text, in_op text, in_before json, in_after json, in_old record,
    in_new record, in_old_place tid, in_new_place tid, in_options flagent_cdc.capture_options
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
        visible := flagent_cdc.visible_columns(in_watched, in_options);
        if in_op = 'update' and flagent_cdc.visible_row(
                before_row, visible || in_options.masked_columns, '{}', in_old, in_relation
            )::text
            = flagent_cdc.visible_row(after_row, visible || in_options.masked_columns, '{}', in_new, in_relation)::text
        then
            if pg_catalog.pg_trigger_depth() > 1 then
                ignored := flagent_cdc.log_unlogged_version(in_relation, in_old_place, in_new_place);
            end if;
            return;
        end if;
        before_row := flagent_cdc.visible_row(before_row, visible, in_options.masked_columns, in_old, in_relation);
        after_row := flagent_cdc.visible_row(after_row, visible, in_options.masked_columns, in_new, in_relation);
    end if;
    if in_options.key_columns <> '{}' then
        if after_row is null then
            key := flagent_cdc.key_of(before_row, in_options.key_columns, in_old, in_relation);
        else
            key := flagent_cdc.key_of(after_row, in_options.key_columns, in_new, in_relation);
        end if;
    end if;
    ignored := flagent_cdc.log_watched_change(
        in_options, in_schema, in_name, in_op, key, before_row, after_row, in_relation, in_old_place, in_new_place
    );
end
$$;

revoke all on function flagent_cdc.log_watched(
    oid, oid, text, text, text, json, json, record, record, tid, tid, flagent_cdc.capture_options
) from public;
