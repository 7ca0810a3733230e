-- timeline: the number of the timeline that this server is on; a failover to a replica and a restore increase it.
--
-- `unknown` where this server or this role does not allow reading it; a server that forbids it forbids it always.
create or replace function flagent_cdc.timeline() returns text
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if pg_is_in_recovery() then
        return (select c.timeline_id from pg_control_checkpoint() c);
    end if;
    return ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer;
exception when insufficient_privilege or undefined_function or object_not_in_prerequisite_state then
    return 'unknown';
end
$$;

revoke all on function flagent_cdc.timeline() from public;
