-- log_ddl: logs the change of a watched table's columns in the transaction that makes it, at its place among the changes of
-- rows.
--
-- Fires:     on ddl_command_end of ALTER TABLE, and of commands whose CASCADE drops columns.
-- Costs:     for a table that is not watched about 50 µs.
-- May raise: nothing of its own: what fails is logged by log_schema_changes() later. It waits for no lock. As with any change
--            that is logged, COMMIT waits for its turn, and PREPARE TRANSACTION is refused.
create or replace function flagent_cdc.log_ddl() returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    noted   constant text := current_setting('flagent_cdc.rewritten', true);
    altered integer[];
    found   integer;
    ignored boolean;
begin
    if current_setting('session_replication_role') = 'replica' and flagent_cdc.is_applied_log() then
        return;
    elsif tg_tag = 'ALTER TABLE' then
        altered := array(
            with recursive altered (oid) as (
                select d.objid from pg_event_trigger_ddl_commands() d where d.classid = 'pg_class'::regclass
                union
                select i.inhrelid from pg_inherits i join altered a on a.oid = i.inhparent
            )
            select distinct w.id
              from altered a
             cross join lateral flagent_cdc.watched_number(coalesce(pg_partition_root(a.oid), a.oid)) w (id)
             where w.id is not null
             order by w.id
        );
    else
        altered := array(select w.id from flagent_cdc.watched_table w order by w.id);
    end if;
    foreach found in array altered loop
        ignored := flagent_cdc.log_schema_change(found, coalesce(found::text = any (string_to_array(noted, ',')), false));
    end loop;
    if noted <> '' then
        perform set_config('flagent_cdc.rewritten', '', true);
    end if;
exception
    when others then
        raise log 'flagent-cdc: a change of columns was not logged at once: %', sqlerrm;
end
$$;

revoke all on function flagent_cdc.log_ddl() from public;
