-- note_rewrite: notes that ALTER TABLE is about to rewrite rows of a watched table with other values.
--
-- Fires:     on table_rewrite.
-- May raise: nothing: whatever fails, the writer's command goes on.
--
-- The table's number travels to log_ddl(), at the end of the command, in a transaction-local setting,
-- flagent_cdc.rewritten. A forged one makes readers load a table once more.
create or replace function flagent_cdc.note_rewrite() returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    relation constant oid := pg_event_trigger_table_rewrite_oid();
    watched  integer;
begin
    -- 2 is a new column's default, 4 a column's other type; else the rows hold what they held.
    if pg_event_trigger_table_rewrite_reason() & (2 | 4) <> 0 then
        watched := flagent_cdc.watched_number(coalesce(pg_partition_root(relation), relation));
        if watched is not null then
            perform set_config(
                'flagent_cdc.rewritten', concat_ws(',', nullif(current_setting('flagent_cdc.rewritten', true), ''), watched), true
            );
        end if;
    end if;
exception
    when others then
        raise log 'flagent-cdc: a rewrite of % was not noted: %', relation, sqlerrm;
end
$$;

revoke all on function flagent_cdc.note_rewrite() from public;
