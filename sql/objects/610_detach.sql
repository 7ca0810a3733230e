-- detach: stops capturing one schema and removes every trace from it.
--
-- Locks:     the captured tables exclusively, for a moment; like attach() it needs a short lock_timeout and retries.
-- Logs:      nothing: subscribers keep the last known flags, and no deletion is published.
create or replace function flagent_cdc.detach(in_schema text) returns void
    language plpgsql
    as $$
declare
    watched record;
begin
    for watched in
        select c.oid::regclass as name, t.tgname
          from pg_catalog.pg_trigger t
          join pg_catalog.pg_class c on c.oid = t.tgrelid
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = in_schema
           and c.relname = any (flagent_cdc.flagent_tables())
           and t.tgname ~ '^flagent_cdc_[0-9]+_capture$'
         order by c.oid, t.tgname
    loop
        execute pg_catalog.format('drop trigger if exists %I on %s', watched.tgname, watched.name);
    end loop;
    perform flagent_cdc.revoke_reading(in_schema);
    delete from flagent_cdc.attachment a where a.schema_name = in_schema;
end
$$;

revoke all on function flagent_cdc.detach(text) from public;
