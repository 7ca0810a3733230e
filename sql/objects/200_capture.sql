-- capture: logs the row that was inserted, updated or deleted.
--
-- Fires:     after insert or delete, for each row of a captured table; after update only where session_replication_role
--            is replica (see capture_update).
-- Arguments: the names of the key's columns, for tables whose key the readers do not know; none for Flagent's tables.
-- Costs:     about 30 µs for the first row of a transaction, 12 µs for each row of a bulk change.
-- May raise: nothing of its own. A row whose JSON exceeds PostgreSQL's limit of 1 GB cannot be logged and fails the
--            write, as it would fail to_json anywhere.
--
-- Runs with its owner's rights: writers need none on flagent_cdc.
--
-- An update that changes nothing is skipped in here: a WHEN clause that names the row would keep Flagent from altering the
-- type of its columns.
create or replace function flagent_cdc.capture() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    before_row json;
    after_row  json;
    key        json;
    count      integer;
begin
    if tg_op = 'UPDATE' and old *= new then
        return null;
    end if;
    if tg_op <> 'INSERT' then
        before_row := to_json(old);
    end if;
    if tg_op <> 'DELETE' then
        after_row := to_json(new);
    end if;
    if tg_nargs > 0 then
        key := flagent_cdc.key_of(coalesce(after_row, before_row), tg_argv);
    end if;
    count := flagent_cdc.log_change(tg_table_schema, tg_table_name, lower(tg_op), key, before_row, after_row);
    return null;
end
$$;

revoke all on function flagent_cdc.capture() from public;
