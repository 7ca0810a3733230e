-- prune_lane: deletes the oldest commits of one lane other than the flags', in one small step, and returns how many changes
-- it deleted.
--
-- Called by: prune_lanes(), and by the pruner, repeatedly, as it calls prune(). By the same rules: commits older than
--            in_older_than are deleted (null: no commit is too old), and as many of the oldest as hold in_changes changes;
--            never what is younger than retention.min_age, never the newest commit, and only a beginning of the log.
--            in_limit is the number of changes of one step. A single commit with more is one step.
-- Costs:     one index look-up and one deletion for each row; no writer waits for it.
-- May raise: nothing of its own. Where another session is pruning, or the lane no longer exists, nothing is deleted.
create or replace function flagent_cdc.prune_lane(
    in_lane integer, in_older_than interval, in_changes bigint, in_limit integer
) returns bigint
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- as prune(): one at a time
    pruning     constant bigint := x'666c6167656e7470'::bigint;
    step_limit  constant integer := least(greatest(coalesce(in_limit, 1), 1), 10000);
    now         constant timestamptz := clock_timestamp();
    horizon     constant bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    one         flagent_cdc.lane;
    min_age     interval;
    head        record;
    newest      bigint;
    up_to       bigint;
    groups      bigint[] := '{}';
    changes     bigint := 0;
begin
    if not pg_try_advisory_xact_lock(pruning) then
        return 0;
    end if;
    -- A crash may undo this step, and it is pruned again: so it need not wait for the disk. Until this transaction's end.
    perform set_config('synchronous_commit', 'off', true);
    select s.* into one from flagent_cdc.lane s where s.id = in_lane;
    select r.min_age into min_age from flagent_cdc.retention r;
    if one.lane_order = 'commit' then
        select max(c.position) into newest from flagent_cdc.lane_commit_log c where c.lane = one.id;
    else
        -- Whole transactions, below the horizon: what readers cannot see yet stays.
        select l.xid into newest
          from flagent_cdc.read_order_log l
         where l.lane = one.id and l.xid < horizon and l.origin = 'flagent_cdc.read_order_log'::regclass
         order by l.xid desc
         limit 1;
        -- Nothing at or above the horizon was ever pruned here: this database was restored from a cluster further on.
        if one.pruned_to >= horizon then
            one.pruned_to := 0;
        end if;
    end if;

    -- Not `position > 0`: each step would read past the dead rows of earlier ones again, until vacuum removes them.
    for head in
        select h.position, h.transaction_group, h.committed_at, h.changes
          from (
              (
                  select c.position, c.transaction_group, c.committed_at, c.changes::bigint
                    from flagent_cdc.lane_commit_log c
                   where one.lane_order = 'commit'
                     and c.lane = one.id and c.position > one.pruned_to and c.position < newest
                   order by c.position
                   limit step_limit
              )
              union all
              select r.xid, null, max(r.changed_at), count(*)
                from (
                    select l.xid, l.changed_at
                      from flagent_cdc.read_order_log l
                     where one.lane_order = 'read' and l.lane = one.id and l.xid > one.pruned_to and l.xid < newest
                     order by l.xid, l.id
                     limit step_limit
                ) r
               group by r.xid
          ) h
         order by h.position
    loop
        exit when head.committed_at > now - min_age;
        exit when not coalesce(head.committed_at < now - in_older_than, false) and changes >= coalesce(in_changes, 0);
        exit when changes > 0 and changes + head.changes > step_limit;
        changes := changes + head.changes;
        up_to := head.position;
        groups := groups || head.transaction_group;
    end loop;
    if up_to is null then
        return 0;
    end if;
    if one.lane_order = 'commit' then
        delete from flagent_cdc.lane_commit_log c
         where c.lane = one.id and c.position > one.pruned_to and c.position <= up_to;
        -- By an array, so that no stale statistics make the planner read the whole table.
        delete from flagent_cdc.lane_change_log g where g.transaction_group = any (groups);
    else
        delete from flagent_cdc.read_order_log l where l.lane = one.id and l.xid > one.pruned_to and l.xid <= up_to;
    end if;
    get diagnostics changes = row_count;
    update flagent_cdc.lane s set pruned_to = up_to where s.id = one.id;
    return changes;
end
$$;

revoke all on function flagent_cdc.prune_lane(integer, interval, bigint, integer) from public;
