-- prune_streams: deletes the oldest commits of all streams besides that of the flags, one small batch of each, and says how
-- many changes went with them.
--
-- Called by: the pruner, as prune() is; what may go is told by prune_stream(): what is older than in_older_than (null: nothing
--            is). Of streams that are no longer there everything goes. in_limit is how many changes of each stream one batch has.
-- Costs:     one index look-up and one deletion for each row; writers wait for none of it.
-- May raise: nothing of its own.
create or replace function flagent_cdc.prune_streams(in_older_than interval, in_limit integer) returns bigint
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- as prune(): one at a time
    pruning     constant bigint := x'666c6167656e7470'::bigint;
    batch_limit constant integer := least(greatest(coalesce(in_limit, 1), 1), 10000);
    one         integer;
    gone        bigint;
    changes     bigint := 0;
begin
    if not pg_try_advisory_xact_lock(pruning) then
        return 0;
    end if;
    perform set_config('synchronous_commit', 'off', true); -- as prune() does
    for one in select s.id from flagent_cdc.stream s order by s.id loop
        changes := changes + flagent_cdc.prune_stream(one, in_older_than, 0, in_limit);
    end loop;

    delete from flagent_cdc.horizon_log l
     where l.ctid = any (array(
         select o.ctid
           from flagent_cdc.horizon_log o
          where not exists (select from flagent_cdc.stream s where s.id = o.stream)
          limit batch_limit
     ));
    get diagnostics gone = row_count;
    changes := changes + gone;
    with orphans as (
        delete from flagent_cdc.stream_commit_log l
         where l.ctid = any (array(
             select o.ctid
               from flagent_cdc.stream_commit_log o
              where not exists (select from flagent_cdc.stream s where s.id = o.stream)
              limit batch_limit
         ))
        returning l.batch
    )
    delete from flagent_cdc.stream_change_log g using orphans o where g.batch = o.batch;
    get diagnostics gone = row_count;
    return changes + gone;
end
$$;

revoke all on function flagent_cdc.prune_streams(interval, integer) from public;
