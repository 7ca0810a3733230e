-- assign_position: gives the transaction's changes their position in commit order, and notifies the listeners.
--
-- Fires:     deferred, at COMMIT, once for the change that opened the transaction's group.
-- Costs:     one insert, two nextval, one notification; about 18 µs for one change, for several what
--            read_transaction_group() costs. Commits that changed something wait for each other here, as NOTIFY makes them
--            wait anyway.
-- May raise: only what any insert may raise. PREPARE TRANSACTION is refused by PostgreSQL itself, as after any NOTIFY.
--
-- The lock makes position order the order of commits: it is released only after the commit has become visible.
--
-- Held until the end of the transaction, the lock must be the last one taken: with row locks still to come, two writers
-- could wait for each other. A deferred trigger runs last, unless the writer runs SET CONSTRAINTS ALL IMMEDIATE, which
-- fires it early. It counts as early when the trigger was called from inside a function other than by its COMMIT, or when
-- the client's statement mentions constraints and immediate. Then it defers itself through a row in deferred_commit, whose
-- trigger is set back to deferred and so fires at the earliest in the next round of deferred triggers, of which COMMIT
-- makes as many as are needed. After eight deferrals in one client statement without a new change, it assigns the position
-- anyway: too early is slow, never would be wrong.
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
    open    text[];
    changes integer;
    deferrals  integer;
    texts   text;
    closed  bigint;
    ignored text;
begin
    get diagnostics stack = pg_context;
    -- The pattern is looked for only where its last word is: that takes a tenth of the time.
    if strpos(stack, e'\n') > 0 and split_part(stack, e'\n', 2) !~ 'COMMIT$'
        or strpos(lower(current_query() collate "C"), 'immediate') > 0 and current_query() ~* 'constraints.*immediate'
    then
        open := string_to_array(current_setting('flagent_cdc.open', true), '/');
        if open[1] = pg_current_xact_id()::text and open[2] = new.transaction_group::text then
            changes := open[4];
        end if;
        deferrals := 0;
        if tg_table_name = 'deferred_commit' then
            if new.requested_at = statement_timestamp() and new.changes is not distinct from changes then
                deferrals := new.deferrals;
            end if;
        end if;
        if deferrals < 8 then
            set constraints flagent_cdc.flagent_cdc_910_assign_position deferred;
            insert into flagent_cdc.deferred_commit (transaction_group, changes, requested_at, deferrals)
            values (new.transaction_group, changes, statement_timestamp(), deferrals + 1);
            return null;
        end if;
    end if;

    -- All that can be done before the lock is done before it: its holder delays every other writer of flags. A payload
    -- must stay below 8000 bytes; all but the changes and two names takes 143 at most.
    if tg_table_name = 'change_log_first' and currval('flagent_cdc.last_change_number') = new.transaction_group then
        changes := 1;
        -- Sizes first: what cannot fit is not even put together.
        texts := case
            when coalesce(octet_length(new.before::text), 0) + coalesce(octet_length(new.after::text), 0) < 7800
                then flagent_cdc.change_json(
                    new.schema_name, new.table_name, new.op, new.key, new.before, new.after
                )
        end;
    else
        select g.changes, g.texts into changes, texts
          from flagent_cdc.read_transaction_group(new.transaction_group, 7800) g;
    end if;

    -- Evaluated from left to right: the position, for which the lock is taken, comes before the time. The lock's number is
    -- 'flagent_' in ASCII: ours alone, per database.
    insert into flagent_cdc.commit_log as c
        (position, transaction_group, xid, committed_at, changes, session_user_name, application_name)
    values (
        case
            when pg_try_advisory_xact_lock(x'666c6167656e745f'::bigint) then nextval('flagent_cdc.commit_position')
            else flagent_cdc.next_position()
        end,
        new.transaction_group, pg_current_xact_id(), clock_timestamp(), changes, session_user,
        current_setting('application_name')
    )
    returning
        -- From here on the group takes no further change, whatever the settings say: see log_change().
        nextval('flagent_cdc.transaction_group'),
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
        ) end
        into closed, ignored;
    return null;
end
$$;

revoke all on function flagent_cdc.assign_position() from public;
