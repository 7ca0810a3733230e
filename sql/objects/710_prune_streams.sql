-- prune_streams: deletes the oldest commits of all streams besides that of the flags, one small batch, and says how many
-- changes went with them.
--
-- Called by: the pruner, as prune() is and by the same rules: commits older than in_older_than go (null: none), never what
--            is younger than retention.min_age, never a stream's newest commit, and only a beginning of each log. Of streams
--            that are no longer there everything goes. in_limit is how many commits, or changes of mode horizon, of each
--            stream one batch has.
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
    youngest    timestamptz;
    one         flagent_cdc.stream;
    batches     bigint[];
    up_to       bigint;
    gone        bigint;
    changes     bigint := 0;
begin
    if not pg_try_advisory_xact_lock(pruning) then
        return 0;
    end if;
    select clock_timestamp() - greatest(r.min_age, in_older_than) into youngest
      from flagent_cdc.retention r
     where in_older_than is not null;
    for one in select s.* from flagent_cdc.stream s order by s.id loop
        if one.mode = 'notify' then
            select array_agg(c.batch), max(c.position) into batches, up_to
              from (
                  select l.batch, l.position, l.committed_at
                    from flagent_cdc.stream_commit_log l
                   where l.stream = one.id and l.position > one.pruned_to
                     and l.position < (select max(m.position) from flagent_cdc.stream_commit_log m where m.stream = one.id)
                   order by l.position
                   limit batch_limit
              ) c
             where c.committed_at < youngest;
            delete from flagent_cdc.stream_commit_log l
             where l.stream = one.id and l.position > one.pruned_to and l.position <= up_to;
            delete from flagent_cdc.stream_change_log g where g.batch = any (batches);
        else
            -- Whole transactions, below the horizon: what is not yet told stays.
            select max(c.xid) into up_to
              from (
                  select l.xid, bool_and(l.changed_at < youngest) over (order by l.xid, l.id) as is_old
                    from flagent_cdc.horizon_log l
                   where l.stream = one.id and l.xid > one.pruned_to
                     and l.xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                   order by l.xid, l.id
                   limit batch_limit
              ) c
             where c.is_old;
            if up_to = (
                select l.xid from flagent_cdc.horizon_log l where l.stream = one.id order by l.xid desc limit 1
            ) then
                select max(l.xid) into up_to
                  from flagent_cdc.horizon_log l
                 where l.stream = one.id and l.xid > one.pruned_to and l.xid < up_to;
            end if;
            delete from flagent_cdc.horizon_log l
             where l.stream = one.id and l.xid > one.pruned_to and l.xid <= up_to;
        end if;
        get diagnostics gone = row_count;
        changes := changes + gone;
        update flagent_cdc.stream s set pruned_to = up_to where s.id = one.id and up_to > s.pruned_to;
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
