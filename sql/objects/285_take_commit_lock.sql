-- take_commit_lock: waits for the lock that makes the order of a lane's positions the order of its commits.
--
-- Called by: assign_position() and assign_lane_position(), where the lock is not free at once.
-- Arguments: the lock's number: 'flagent_' in ASCII for the flags, 'flag' and the lane's number for others; the writer's
--            lock_timeout.
-- May raise: lock_not_available when the writer's lock_timeout has passed, or its statement_timeout, which PostgreSQL itself
--            does not apply at COMMIT. The holder waits for nothing but the disk.
create or replace function flagent_cdc.take_commit_lock(in_key bigint, in_lock_timeout text) returns void
    language plpgsql
    -- Restored when the function returns.
    set lock_timeout = 0
    as $$
declare
    left_ms constant double precision := extract(epoch from
        pg_catalog.current_setting('statement_timeout')::interval
        - (pg_catalog.clock_timestamp() - pg_catalog.statement_timestamp())
    ) * 1000;
    lock_ms constant double precision := extract(epoch from in_lock_timeout::interval) * 1000;
    ignored text;
begin
    ignored := pg_catalog.set_config(
        'lock_timeout',
        least(
            case when lock_ms > 0 then greatest(lock_ms, 1)::integer end,
            case when pg_catalog.current_setting('statement_timeout') <> '0' then greatest(left_ms, 1)::integer end,
            2147483647
        )::text,
        true
    );
    perform pg_catalog.pg_advisory_xact_lock(in_key);
end
$$;

revoke all on function flagent_cdc.take_commit_lock(bigint, text) from public;
