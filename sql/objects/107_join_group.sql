-- join_group: finds the open group of this transaction in a lane, or a number for a further one, and notes it in a setting as
-- log_change() and log_lane_change() read it.
--
-- Called by: these two, where the setting does not say: the writer has reset it (RESET ALL), or COMMIT has closed the group and
--            a cursor WITH HOLD, which PostgreSQL runs last, has made one more change. In a restored database also where
--            rows of another cluster have the same number.
-- Costs:     a few index look-ups, up to 0.1 ms.
-- May raise: program_limit_exceeded for the 32nd group.
create or replace function flagent_cdc.join_group(in_lane integer, in_setting text) returns text
    language plpgsql
    -- A plan is kept for the session, and may have been made while the log was small.
    set enable_seqscan = off
    as $$
declare
    own      constant bigint := flagent_cdc.own_group(in_lane);
    age      constant integer := pg_catalog.age(pg_catalog.pg_current_xact_id()::xid);
    log      constant text := case when in_lane = 0 then 'flagent_cdc.change_log' else 'flagent_cdc.lane_change_log' end;
    newest   bigint;
    last     bigint;
    row_age  integer;
    place    text;
begin
    newest := case
        when in_lane = 0 then (
            select c.transaction_group from flagent_cdc.commit_log c order by c.position desc limit 1
        )
        else (
            select c.transaction_group
              from flagent_cdc.lane_commit_log c
             where c.lane = in_lane
             order by c.position desc
             limit 1
        )
    end;
    for k in 0 .. 31 loop
        execute pg_catalog.format(
            'select pg_catalog.age(f.xmin) from %s_first f where f.transaction_group = $1 and f.id = 1', log
        ) into row_age using own | (k::bigint << 58);
        if row_age is null then
            if last is not null and last is distinct from newest then
                execute pg_catalog.format(
                    'select pg_catalog.concat(c.ctid, ''/'', case when c.id = 1 then ''f'' else ''n'' end)'
                    ' from %s c where c.transaction_group = $1 and c.has_nested is not null order by c.id desc limit 1', log
                ) into place using last;
            end if;
            if place is null then
                last := own | (k::bigint << 58);
            end if;
            return pg_catalog.set_config(in_setting, pg_catalog.concat(own, '/', last, '/', coalesce(place, '/')), true);
        end if;
        -- A row as old as this transaction, or younger, is its own: no other transaction has its number.
        last := case when row_age <= age then own | (k::bigint << 58) end;
    end loop;
    raise exception using
        errcode = 'program_limit_exceeded', message = 'flagent-cdc: one transaction has more than 31 groups of changes';
end
$$;

revoke all on function flagent_cdc.join_group(integer, text) from public;
