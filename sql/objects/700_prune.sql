-- prune: deletes the oldest commits of the flags' change log with their changes, in one small step, and reports how many.
--
-- Called by: the pruner, repeatedly, each time in a transaction of its own and in READ COMMITTED: under SERIALIZABLE it
--            could make writers fail.
-- Arguments: commits older than in_older_than are deleted (null: no commit is too old), and as many of the oldest as hold
--            in_changes changes; in_limit is the number of changes of one step. A single commit with more is one step.
-- Answers:   what this step deleted, and is_busy where another session is pruning at the moment.
-- Costs:     one index look-up and one deletion for each row; no writer waits for it.
-- May raise: nothing of its own.
--
-- Runs with its owner's rights, and the run-time role may call it although it can write nothing else: whatever the
-- arguments, the newest commit stays, and so does every commit younger than the owner's retention.min_age. Only a beginning
-- of the log is deleted, in the order of positions: what is left continues without a gap.
create or replace function flagent_cdc.prune(in_older_than interval, in_changes bigint, in_limit integer)
    returns table (commits integer, changes bigint, is_busy boolean)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    -- 'flagentp' in ASCII: an advisory lock of ours alone, per database
    pruning     constant bigint := x'666c6167656e7470'::bigint;
    step_limit  constant integer := least(greatest(coalesce(in_limit, 1), 1), 10000);
    now         constant timestamptz := clock_timestamp();
    found       record;
    head        record;
    newest      bigint;
    up_to       bigint;
    groups      bigint[] := '{}';
begin
    commits := 0;
    changes := 0;
    is_busy := not pg_try_advisory_xact_lock(pruning);
    if is_busy then
        return next;
        return;
    end if;
    -- A crash may undo this step, and it is pruned again: so it need not wait for the disk. Until this transaction's end.
    perform set_config('synchronous_commit', 'off', true);
    select r.pruned_to, r.min_age into found from flagent_cdc.retention r;
    select max(c.position) into newest from flagent_cdc.commit_log c;

    -- Not `position > 0`: each step would read past the dead rows of earlier ones again, until vacuum removes them.
    for head in
        select c.position, c.transaction_group, c.committed_at, c.changes
          from flagent_cdc.commit_log c
         where c.position > found.pruned_to and c.position < newest
         order by c.position
         limit step_limit
    loop
        exit when head.committed_at > now - found.min_age;
        exit when not coalesce(head.committed_at < now - in_older_than, false) and changes >= coalesce(in_changes, 0);
        exit when commits > 0 and changes + head.changes > step_limit;
        commits := commits + 1;
        changes := changes + head.changes;
        up_to := head.position;
        groups := groups || head.transaction_group;
    end loop;
    if up_to is not null then
        delete from flagent_cdc.commit_log c where c.position > found.pruned_to and c.position <= up_to;
        -- By an array, so that no stale statistics make the planner read the whole table.
        delete from flagent_cdc.change_log g where g.transaction_group = any (groups);
        update flagent_cdc.retention r set pruned_to = up_to;
    end if;
    -- What COMMIT has left: rows that are visible here are of transactions that have ended.
    delete from flagent_cdc.deferred_commit d
     where d.ctid = any (array(select o.ctid from flagent_cdc.deferred_commit o limit 10000));
    delete from flagent_cdc.commit_probe p
     where p.ctid = any (array(select o.ctid from flagent_cdc.commit_probe o limit 10000));
    delete from flagent_cdc.unlogged_version v
     where v.ctid = any (array(select o.ctid from flagent_cdc.unlogged_version o limit 10000));
    return next;
end
$$;

revoke all on function flagent_cdc.prune(interval, bigint, integer) from public;
