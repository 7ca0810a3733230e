-- capture: logs the row that was inserted, updated or deleted.
--
-- Fires:     after insert, update or delete, for each row of a watched table; the update trigger's WHEN compares the
--            stored images, so that an update which changes nothing costs nothing.
-- Arguments: the names of the key's columns, for tables whose key the readers do not know; none for Flagent's tables.
-- Costs:     about 35 µs for the first row of a transaction, 9 µs for each row of a bulk change.
-- May raise: nothing of its own. A row whose JSON exceeds PostgreSQL's limit of 1 GB cannot be logged and fails the
--            write, as it would fail to_json anywhere.
--
-- Runs with its owner's rights: writers need none on flagent_cdc.
create or replace function flagent_cdc.capture() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    before_row json;
    after_row  json;
    key        json;
    id         integer;
    ignored    text;
begin
    if tg_op = 'UPDATE' and tg_nargs = 0
        and current_setting('flagent_cdc.changes', true) = ''
        and current_setting('flagent_cdc.transaction', true) = pg_current_xact_id()::text
    then
        -- What log_change() does in a bulk change, without the call: 2 of 10 µs less per row.
        id := current_setting('flagent_cdc.count')::integer + 1;
        ignored := set_config('flagent_cdc.count', id::text, true);
        insert into flagent_cdc.change_log (batch, id, schema_name, table_name, op, before, after)
        values (
            current_setting('flagent_cdc.batch')::bigint, id,
            tg_table_schema, tg_table_name, 'update', to_json(old), to_json(new)
        );
        return null;
    end if;

    if tg_op <> 'INSERT' then
        before_row := to_json(old);
    end if;
    if tg_op <> 'DELETE' then
        after_row := to_json(new);
    end if;
    if tg_nargs > 0 then
        select json_object_agg(c.name, coalesce(after_row, before_row) -> c.name) into key
          from unnest(tg_argv) as c (name);
    end if;
    id := flagent_cdc.log_change(tg_table_schema, tg_table_name, lower(tg_op), key, before_row, after_row);
    return null;
end
$$;

revoke all on function flagent_cdc.capture() from public;
