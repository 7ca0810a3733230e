-- log_identity: six characters that distinguish this log from every other one that may use the same positions.
--
-- It changes with a failover to a replica, a restore (also one of a dump into the same database, which creates the table
-- anew) and a copy.
create or replace function flagent_cdc.log_identity() returns text
    language sql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    as $$ select flagent_cdc.log_identity_on(flagent_cdc.timeline()) $$;

revoke all on function flagent_cdc.log_identity() from public;
