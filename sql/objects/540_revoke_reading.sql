-- revoke_reading: takes back what grant_reading() granted in one schema; tables and roles that are gone are skipped.
create or replace function flagent_cdc.revoke_reading(in_schema text) returns void
    language plpgsql
    as $$
declare
    given record;
begin
    for given in
        delete from flagent_cdc.runtime_grant g where g.schema_name = in_schema returning g.role_name, g.table_name
    loop
        if not exists (select from pg_catalog.pg_roles r where r.rolname = given.role_name) then
            continue;
        elsif given.table_name = '' then
            execute pg_catalog.format('revoke usage on schema %I from %I', in_schema, given.role_name);
        elsif pg_catalog.to_regclass(pg_catalog.format('%I.%I', in_schema, given.table_name)) is not null then
            execute pg_catalog.format('revoke select on table %I.%I from %I', in_schema, given.table_name, given.role_name);
        end if;
    end loop;
end
$$;

revoke all on function flagent_cdc.revoke_reading(text) from public;
