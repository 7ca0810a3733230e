-- log_schema_changes: logs changes of watched tables' columns that the event triggers have not: where only a superuser may
-- create those, and after a restore.
--
-- Called by: the server, within each minute, when it has connected, and when it sees other columns; by migrate.
-- Answers:   the tables whose columns have changed. Whether rows were rewritten without another column or type is not known
--            afterwards.
--
-- Runs with its owner's rights: the server needs none on the tables.
create or replace function flagent_cdc.log_schema_changes() returns text[]
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    logged text[] := '{}';
    found  integer;
begin
    -- A subscription brings the publisher's log, in which they are.
    if flagent_cdc.is_applied_log() then
        return logged;
    end if;
    foreach found in array array(select w.id from flagent_cdc.watched_table w order by w.id) loop
        if flagent_cdc.log_schema_change(found, false) then
            logged := logged || flagent_cdc.watched_relation(found)::regclass::text;
        end if;
    end loop;
    return logged;
end
$$;

revoke all on function flagent_cdc.log_schema_changes() from public;
