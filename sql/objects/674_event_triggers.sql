-- event triggers flagent_cdc_900_note_rewrite and flagent_cdc_910_log_ddl: call note_rewrite() and log_ddl().
--
-- Only a superuser may create them. Without them log_schema_changes() announces what has changed a moment later.
do $$
begin
    if not exists (select from pg_catalog.pg_event_trigger e where e.evtname = 'flagent_cdc_900_note_rewrite') then
        create event trigger flagent_cdc_900_note_rewrite on table_rewrite
            execute function flagent_cdc.note_rewrite();
        alter event trigger flagent_cdc_900_note_rewrite enable always;
    end if;
    if not exists (select from pg_catalog.pg_event_trigger e where e.evtname = 'flagent_cdc_910_log_ddl') then
        create event trigger flagent_cdc_910_log_ddl on ddl_command_end
            when tag in (
                'ALTER TABLE', 'DROP DOMAIN', 'DROP EXTENSION', 'DROP FUNCTION', 'DROP OWNED', 'DROP SCHEMA', 'DROP TYPE'
            )
            execute function flagent_cdc.log_ddl();
        alter event trigger flagent_cdc_910_log_ddl enable always;
    end if;
exception
    when insufficient_privilege then null;
end
$$;
