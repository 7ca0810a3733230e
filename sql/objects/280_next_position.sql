-- next_position: waits until no other commit holds the commit-order lock, and draws the next position.
--
-- Called by: assign_position(), where the lock is not free at once.
--
-- The writer's own lock_timeout must not turn this short wait into an error, so it is off in here.
create or replace function flagent_cdc.next_position() returns bigint
    language plpgsql
    set lock_timeout = 0
    as $$
begin
    -- 'flagent_' in ASCII, as in assign_position()
    perform pg_catalog.pg_advisory_xact_lock(x'666c6167656e745f'::bigint);
    return pg_catalog.nextval('flagent_cdc.commit_position');
end
$$;

revoke all on function flagent_cdc.next_position() from public;
