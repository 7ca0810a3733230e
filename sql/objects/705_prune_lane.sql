-- prune_stream: deletes the oldest commits of one stream besides that of the flags, one small batch, and says how many
-- changes went with them.
--
-- Called by: prune_streams(), and by the pruner, again and again as it calls prune(). By the same rules: commits older than
--            in_older_than go (null: no commit is too old), and as many of the oldest as hold in_changes changes; never what
--            is younger than retention.min_age, never the newest commit, and only a beginning of the log. in_limit is how many
--            changes one batch has. A single commit with more is one batch.
-- Costs:     one index look-up and one deletion for each row; writers wait for none of it.
-- May raise: nothing of its own. Where another session is pruning, or the stream is no longer there, nothing goes.
create or replace function flagent_cdc.prune_stream(
    in_stream integer, in_older_than interval, in_changes bigint, in_limit integer
) returns bigint
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    -- as prune(): one at a time
    pruning     constant bigint := x'666c6167656e7470'::bigint;
    batch_limit constant integer := least(greatest(coalesce(in_limit, 1), 1), 10000);
    now         constant timestamptz := clock_timestamp();
    horizon     constant bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    one         flagent_cdc.stream;
    min_age     interval;
    head        record;
    newest      bigint;
    up_to       bigint;
    batches     bigint[] := '{}';
    changes     bigint := 0;
begin
    if not pg_try_advisory_xact_lock(pruning) then
        return 0;
    end if;
    -- What a crash brings back is pruned once more: the disk's syncs are left to the writers. Until this transaction's end.
    perform set_config('synchronous_commit', 'off', true);
    select s.* into one from flagent_cdc.stream s where s.id = in_stream;
    select r.min_age into min_age from flagent_cdc.retention r;
    if one.mode = 'notify' then
        select max(c.position) into newest from flagent_cdc.stream_commit_log c where c.stream = one.id;
    else
        -- Whole transactions, below the horizon: what is not yet told stays.
        select l.xid into newest
          from flagent_cdc.horizon_log l
         where l.stream = one.id and l.xid < horizon and l.origin = 'flagent_cdc.horizon_log'::regclass
         order by l.xid desc
         limit 1;
        -- Nothing at or above the horizon was ever pruned here: this database was restored from a cluster further on.
        if one.pruned_to >= horizon then
            one.pruned_to := 0;
        end if;
    end if;

    -- Not `position > 0`: the dead rows of earlier batches would be passed over again each time until vacuum comes.
    for head in
        select h.position, h.batch, h.committed_at, h.changes
          from (
              (
                  select c.position, c.batch, c.committed_at, c.changes::bigint
                    from flagent_cdc.stream_commit_log c
                   where one.mode = 'notify'
                     and c.stream = one.id and c.position > one.pruned_to and c.position < newest
                   order by c.position
                   limit batch_limit
              )
              union all
              select r.xid, null, max(r.changed_at), count(*)
                from (
                    select l.xid, l.changed_at
                      from flagent_cdc.horizon_log l
                     where one.mode = 'horizon' and l.stream = one.id and l.xid > one.pruned_to and l.xid < newest
                     order by l.xid, l.id
                     limit batch_limit
                ) r
               group by r.xid
          ) h
         order by h.position
    loop
        exit when head.committed_at > now - min_age;
        exit when not coalesce(head.committed_at < now - in_older_than, false) and changes >= coalesce(in_changes, 0);
        exit when changes > 0 and changes + head.changes > batch_limit;
        changes := changes + head.changes;
        up_to := head.position;
        batches := batches || head.batch;
    end loop;
    if up_to is null then
        return 0;
    end if;
    if one.mode = 'notify' then
        delete from flagent_cdc.stream_commit_log c
         where c.stream = one.id and c.position > one.pruned_to and c.position <= up_to;
        -- By an array, so that no stale statistics make the planner read the whole table.
        delete from flagent_cdc.stream_change_log g where g.batch = any (batches);
    else
        delete from flagent_cdc.horizon_log l where l.stream = one.id and l.xid > one.pruned_to and l.xid <= up_to;
    end if;
    get diagnostics changes = row_count;
    update flagent_cdc.stream s set pruned_to = up_to where s.id = one.id;
    return changes;
end
$$;

revoke all on function flagent_cdc.prune_stream(integer, interval, bigint, integer) from public;
