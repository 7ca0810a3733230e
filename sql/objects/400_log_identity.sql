-- log_identity: six characters that tell this log from every other one that may use the same positions.
--
-- A hash of the cluster, its timeline, the database, the installation and the log's table: it changes with a failover to
-- a replica, a restore (also one of a dump into the same database, which makes the table anew) and a copy. What this server or this role does not allow to be asked is left out, without an error; a
-- server that forbids it forbids it always, so the answer stays the same.
create or replace function flagent_cdc.log_identity() returns text
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    alphabet constant text := 'abcdefghijklmnopqrstuvwxyz234567';
    system   text := '';
    timeline text := '';
    install  text;
    digest   bytea;
    identity text := '';
begin
    begin
        select c.system_identifier into system from pg_control_system() c;
    exception when insufficient_privilege or undefined_function then
        system := 'unknown';
    end;
    begin
        if pg_is_in_recovery() then
            select c.timeline_id into timeline from pg_control_checkpoint() c;
        else
            timeline := ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer;
        end if;
    exception when insufficient_privilege or undefined_function or object_not_in_prerequisite_state then
        timeline := 'unknown';
    end;
    select i.id into install from flagent_cdc.installation i;
    digest := sha256(convert_to(
        concat_ws(
            '/', system, timeline, (select d.oid from pg_database d where d.datname = current_database()), install,
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

revoke all on function flagent_cdc.log_identity() from public;
