-- order_read_changes: puts the changes of this transaction in a lane ordered when read in the order in which they were made.
--
-- Fires:     deferred, at COMMIT, in a transaction in which a trigger changed rows of the lane, when all other deferred work is
--            done: see is_last_of_commit(). No lock is taken.
create or replace function flagent_cdc.order_read_changes() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    stack text;
begin
    get diagnostics stack = pg_context;
    if not flagent_cdc.is_last_of_commit(
        0, new.lane, new.cmin::text::bigint, new.writes, true, new.requested_at, new.deferrals, stack
    ) then
        return null;
    end if;
    perform flagent_cdc.order_group('read_order_log', pg_current_xact_id()::text::bigint, new.lane);
    return null;
end
$$;

revoke all on function flagent_cdc.order_read_changes() from public;
