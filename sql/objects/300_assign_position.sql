-- assign_position: gives the transaction's changes their position in commit order, and notifies the listeners.
--
-- Fires:     deferred, at COMMIT, for the change that opened the transaction's group, and again until all other deferred work is
--            done: see is_last_of_commit().
-- Costs:     one insert, one notification, and what is_last_of_commit() costs; for several changes what
--            read_transaction_group() costs. Commits that changed something wait for each other here, as NOTIFY makes them
--            wait anyway.
-- May raise: only what any insert may raise, and lock_not_available when the writer's own time-out has passed. PREPARE
--            TRANSACTION is refused by PostgreSQL itself, as after any NOTIFY.
--
-- The lock makes position order the order of commits: it is released only after the commit has become visible. It is taken
-- last, and its holder waits for nothing but the disk.
--
-- Every statement, expression and initialised variable in here is paid at each commit, with caches that the last fsync has
-- left cold: hence few of them, and no constants. No plan of it may be costly in the planner's eyes, as a disabled scan is
-- before PostgreSQL 18: it would be compiled at each commit, which takes 60 ms.
create or replace function flagent_cdc.assign_position() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    stack   text;
    changes integer;
    cid     bigint;
    written bigint;
    is_open boolean;
    texts   text;
    ignored text;
begin
    get diagnostics stack = pg_context;
    if tg_table_name = 'change_log_first' then
        -- A subscription has applied it: the publisher gives it its position.
        if (new.transaction_group & x'03ffffffffffffff'::bigint) <> flagent_cdc.own_group(0) then
            return null;
        end if;
        changes := case
            when split_part(current_setting('flagent_cdc.open', true), '/', 4) = 'f' then 1
        end;
        cid := new.cmin::text::bigint;
        -- What is_last_of_commit() finds out, without calling it, for a single change of flags: most commits are that.
        if changes = 1 and strpos(stack, e'\n') = 0 and (strpos(lower(current_query()), 'immediate') > 0) is not true
            and (current_setting('flagent_cdc.deferred', true) <> '') is not true
        then
            insert into flagent_cdc.commit_probe as p (xid) values (pg_current_xact_id())
            returning p.cmin::text::bigint - cid into written;
        end if;
        if written is distinct from 1 and not flagent_cdc.is_last_of_commit(
            new.transaction_group, 0, cid, 0, changes = 1 and written is null, null, 0, stack
        ) then
            return null;
        end if;
        -- All that can be done before the lock is done before it: its holder delays every other writer of flags. A payload
        -- must stay below 8000 bytes; all but the changes and two names takes 143 at most. Sizes first: what cannot
        -- fit is not even put together.
        texts := case
            when coalesce(octet_length(new.before::text), 0) + coalesce(octet_length(new.after::text), 0) < 7800
                then flagent_cdc.change_json(
                    new.schema_name, new.table_name, new.op, new.key, new.before, new.after
                )
        end;
    else
        if not flagent_cdc.is_last_of_commit(
            new.transaction_group, 0, new.cmin::text::bigint, new.writes, true, new.requested_at, new.deferrals, stack
        ) then
            return null;
        end if;
        select g.changes, g.texts into changes, texts
          from flagent_cdc.read_transaction_group(new.transaction_group, 7800) g;
    end if;

    -- The lock's number is 'flagent_' in ASCII: ours alone, per database.
    if not pg_try_advisory_xact_lock(x'666c6167656e745f'::bigint) then
        ignored := flagent_cdc.take_commit_lock(x'666c6167656e745f'::bigint, current_setting('lock_timeout'));
    end if;
    -- Evaluated from left to right: the position comes before the time.
    insert into flagent_cdc.commit_log as c
        (position, transaction_group, xid, committed_at, changes, session_user_name, application_name)
    values (
        flagent_cdc.next_position('flagent_cdc.commit_position'),
        new.transaction_group, pg_current_xact_id(), clock_timestamp(), changes, session_user,
        current_setting('application_name')
    )
    returning
        -- From here on the group takes no further change.
        set_config('flagent_cdc.open', '', true),
        -- A full queue would fail the writer; the listeners find the commit in the log.
        case when pg_notification_queue_usage() < 0.9 then pg_notify(
            (select i.channel from flagent_cdc.installation i),
            format(
                '{"position":%s,"xid":%s,"committedAt":"%s","user":%s,"application":%s%s}',
                c.position, c.xid, to_char(c.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                to_json(c.session_user_name), to_json(c.application_name),
                -- In JSON, a byte of a name takes six at most.
                case
                    when octet_length(texts) + 6 * octet_length(c.session_user_name || c.application_name) < 7800
                        then ',"changes":[' || texts || ']'
                end
            )
        ) end,
        exists (select from pg_cursor() h where h.is_holdable)
        into ignored, ignored, is_open;
    if is_open then
        -- PostgreSQL runs it after this, and what it runs may change flags once more: that opens a further group.
        perform flagent_cdc.close_group(
            'change_log', new.transaction_group, 0, changes, case when tg_table_name = 'change_log_first' then new.ctid end
        );
    end if;
    return null;
end
$$;

revoke all on function flagent_cdc.assign_position() from public;
