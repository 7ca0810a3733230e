-- log_change: writes one change into the flags' change log, into the transaction's open group or as the first of a new one.
--
-- Called by: capture(), capture_update(), capture_truncate() and attach(), always inside the transaction that makes the
--            change; log_watched_change() for watched tables in the flags' lane.
-- Costs:     one insert, one setting and one setval; about 7 µs for the rows of a bulk change.
-- May raise: only what any insert may raise (disk full, out of memory).
--
-- A transaction group is what one commit gives a position to. The open group travels in a transaction-local setting,
-- because a savepoint rolls that back:
--   flagent_cdc.open       <transaction id>/<open group>/<place of the group's first change, whose trigger assigns the
--                          position>/<number of its last change>; a value left over from another transaction is ignored
--
-- Any session can set it to anything, and must not be able to hide or to forge a change that way. What a session drew last
-- from a sequence cannot be set without rights on the sequence, so these two are trusted:
--   transaction_group      the last group that this session opened; assign_position() draws once more, which closes it
--   last_change_number     the same number while the group has one change; from the second change on, that change's number,
--                          negated. It never goes down, since a later change with a lower number would be published first.
--                          Rolling back to a savepoint undoes no draw and leaves a hole.
-- A change joins a group only if that is the last one drawn and its first change is found at its place, which a rolled back
-- savepoint may have removed; otherwise it opens a new group. The look-up is by place, not by index, because reading an
-- index that others write to would make SERIALIZABLE writers fail each other; inside the INSERT it costs 1 µs.
--
-- One set of functions for all lanes, with the flags as lane 0 and the proof of log_lane_change(), would cost writers of flags
-- 43 % more for each inserted row (15.5 µs to 22.1) and 3 % more for a commit of one row or the rows of a bulk update; 25
-- interleaved rounds on a busy machine, medians of processor time. It also could not close a group that was announced.
--
-- Assignments instead of PERFORM: plpgsql evaluates them without starting a query. What the INSERT can do itself is done in
-- its RETURNING, which costs least.
create or replace function flagent_cdc.log_change(
    in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json
) returns integer
    language plpgsql
    as $$
declare
    xid      constant text := pg_catalog.pg_current_xact_id();
    open     constant text := pg_catalog.current_setting('flagent_cdc.open', true);
    in_group bigint;
    in_id    integer;
    ignored  text;
begin
    if pg_catalog.split_part(open, '/', 1) = xid then
        in_group := pg_catalog.split_part(open, '/', 2);
        if in_group = pg_catalog.currval('flagent_cdc.transaction_group') then
            in_id := greatest(-pg_catalog.currval('flagent_cdc.last_change_number'), 1) + 1;
            insert into flagent_cdc.change_log (transaction_group, id, schema_name, table_name, op, key, before, after)
            select in_group, in_id, in_schema, in_table, in_op, in_key, in_before, in_after
              from flagent_cdc.change_log_first f
             where f.ctid = pg_catalog.split_part(open, '/', 3)::tid and f.transaction_group = in_group;
            if found then
                ignored := pg_catalog.setval('flagent_cdc.last_change_number', -in_id)
                    || pg_catalog.set_config(
                        'flagent_cdc.open',
                        pg_catalog.concat(xid, '/', in_group, '/', pg_catalog.split_part(open, '/', 3), '/', in_id),
                        true
                    );
                return in_id;
            end if;
        end if;
    end if;

    insert into flagent_cdc.change_log_first as f
        (transaction_group, id, schema_name, table_name, op, key, before, after)
    values (
        pg_catalog.nextval('flagent_cdc.transaction_group'), 1, in_schema, in_table, in_op, in_key, in_before, in_after
    )
    returning pg_catalog.set_config(
        'flagent_cdc.open',
        pg_catalog.concat(
            xid, '/', pg_catalog.setval('flagent_cdc.last_change_number', f.transaction_group), '/', f.ctid, '/1'
        ),
        true
    ) into ignored;
    return 1;
end
$$;

revoke all on function flagent_cdc.log_change(text, text, text, json, json, json) from public;
