-- grant_reading: lets a run-time role read Flagent's tables of one attached schema, and records what it granted.
--
-- Grants only what the role lacks, so that revoke_reading() takes back no right that was granted by others.
create or replace function flagent_cdc.grant_reading(in_role text, in_schema text) returns void
    language plpgsql
    as $$
declare
    table_name text;
begin
    if not pg_catalog.has_schema_privilege(in_role, in_schema, 'usage') then
        execute pg_catalog.format('grant usage on schema %I to %I', in_schema, in_role);
        insert into flagent_cdc.runtime_grant (role_name, schema_name, table_name) values (in_role, in_schema, '');
    end if;
    foreach table_name in array flagent_cdc.flagent_tables() loop
        if not pg_catalog.has_table_privilege(in_role, pg_catalog.format('%I.%I', in_schema, table_name), 'select') then
            execute pg_catalog.format('grant select on table %I.%I to %I', in_schema, table_name, in_role);
            insert into flagent_cdc.runtime_grant (role_name, schema_name, table_name)
            values (in_role, in_schema, table_name)
            on conflict do nothing;
        end if;
    end loop;
end
$$;

revoke all on function flagent_cdc.grant_reading(text, text) from public;
