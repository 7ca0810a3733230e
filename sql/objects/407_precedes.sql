-- precedes: whether this server is on an earlier timeline of its cluster than a log: an old primary that has come back after
-- a failover, which does not hold what was committed since.
--
-- Also for the log of a lane, whose name begins with that of the flags' log.
create or replace function flagent_cdc.precedes(in_log text) returns boolean
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    timeline constant text := flagent_cdc.timeline();
begin
    if timeline = 'unknown' then
        return false;
    end if;
    -- A hundred failovers while the old primary was away are more than there are.
    return exists (
        select from generate_series(timeline::integer + 1, timeline::integer + 100) later
        where starts_with(in_log, flagent_cdc.log_identity_on(later::text))
    );
end
$$;

revoke all on function flagent_cdc.precedes(text) from public;
