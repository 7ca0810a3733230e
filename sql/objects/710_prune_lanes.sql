-- prune_lanes: deletes the oldest commits of all lanes other than the flags', one small step of each, and returns how many
-- changes it deleted.
--
-- Called by: the pruner, as prune() is; prune_lane() decides what may be deleted: what is older than in_older_than (null:
--            nothing is). The logs of lanes that no longer exist are deleted entirely. in_limit is the number of changes of
--            one step of each lane.
-- Costs:     one index look-up and one deletion for each row; no writer waits for it.
-- May raise: nothing of its own.
create or replace function flagent_cdc.prune_lanes(in_older_than interval, in_limit integer) returns bigint
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- as prune(): one at a time
    pruning     constant bigint := x'666c6167656e7470'::bigint;
    step_limit  constant integer := least(greatest(coalesce(in_limit, 1), 1), 10000);
    one         integer;
    gone        bigint;
    changes     bigint := 0;
begin
    if not pg_try_advisory_xact_lock(pruning) then
        return 0;
    end if;
    perform set_config('synchronous_commit', 'off', true); -- as prune() does
    for one in select s.id from flagent_cdc.lane s order by s.id loop
        changes := changes + flagent_cdc.prune_lane(one, in_older_than, 0, in_limit);
    end loop;

    delete from flagent_cdc.read_order_log l
     where l.ctid = any (array(
         select o.ctid
           from flagent_cdc.read_order_log o
          where not exists (select from flagent_cdc.lane s where s.id = o.lane)
          limit step_limit
     ));
    get diagnostics gone = row_count;
    changes := changes + gone;
    with orphans as (
        delete from flagent_cdc.lane_commit_log l
         where l.ctid = any (array(
             select o.ctid
               from flagent_cdc.lane_commit_log o
              where not exists (select from flagent_cdc.lane s where s.id = o.lane)
              limit step_limit
         ))
        returning l.transaction_group
    )
    delete from flagent_cdc.lane_change_log g using orphans o where g.transaction_group = o.transaction_group;
    get diagnostics gone = row_count;
    return changes + gone;
end
$$;

revoke all on function flagent_cdc.prune_lanes(interval, integer) from public;
