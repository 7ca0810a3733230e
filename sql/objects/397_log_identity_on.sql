-- log_identity_on: the identity of this log on a given timeline of its cluster; six characters.
--
-- A hash of the cluster, the timeline, the database, the installation and the log's table. What this server or this role
-- may not read is left out, without an error; a server that forbids it forbids it always, so the result stays the same.
create or replace function flagent_cdc.log_identity_on(in_timeline text) returns text
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    alphabet constant text := 'abcdefghijklmnopqrstuvwxyz234567';
    system   text := '';
    install  text;
    digest   bytea;
    identity text := '';
begin
    begin
        select c.system_identifier into system from pg_control_system() c;
    exception when insufficient_privilege or undefined_function then
        system := 'unknown';
    end;
    select i.id into install from flagent_cdc.installation i;
    digest := sha256(convert_to(
        concat_ws(
            '/', system, in_timeline, (select d.oid from pg_database d where d.datname = current_database()), install,
            'flagent_cdc.commit_log'::regclass::oid
        ),
        'UTF8'
    ));
    for i in 0 .. 5 loop
        identity := identity || substr(alphabet, get_byte(digest, i) % 32 + 1, 1);
    end loop;
    return identity;
end
$$;

revoke all on function flagent_cdc.log_identity_on(text) from public;
