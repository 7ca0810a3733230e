-- capture: logs the row that was inserted, updated or deleted.
--
-- Fires:     after insert, update or delete, for each row of a watched table; the update trigger's WHEN compares the
--            stored images, so that an update which changes nothing costs nothing.
-- Arguments: the names of the key's columns, for tables whose key the readers do not know; none for Flagent's tables.
-- Costs:     about 10 µs per row, plus the row as JSON.
-- May raise: nothing of its own. A row whose JSON exceeds PostgreSQL's limit of 255 MB per value cannot be logged and
--            fails the write, as it would fail to_jsonb anywhere.
--
-- Runs with its owner's rights: writers need none on flagent_cdc.
create or replace function flagent_cdc.capture() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    before_row jsonb;
    after_row  jsonb;
    key        jsonb;
    batch      bigint;
begin
    if tg_op <> 'INSERT' then
        before_row := to_jsonb(old);
    end if;
    if tg_op <> 'DELETE' then
        after_row := to_jsonb(new);
    end if;
    if tg_nargs > 0 then
        key := '{}';
        for i in 0 .. tg_nargs - 1 loop
            key := key || jsonb_build_object(tg_argv[i], coalesce(after_row, before_row) -> tg_argv[i]);
        end loop;
    end if;
    batch := flagent_cdc.log_change(tg_table_schema, tg_table_name, lower(tg_op), key, before_row, after_row);
    return null;
end
$$;

revoke all on function flagent_cdc.capture() from public;
