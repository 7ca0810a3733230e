-- log_change: writes one change into the flags' change log, into the transaction's open group or as the first of a new one.
--
-- Called by: capture(), capture_update(), capture_truncate() and attach(), always inside the transaction that makes the
--            change; log_watched_change() for watched tables in the flags' lane.
-- Answers:   whether the group holds a change that a trigger made: then the order of the changes needs a look.
-- Costs:     one insert and one setting.
-- May raise: only what any insert may raise (disk full, out of memory).
--
-- A transaction group is what one commit gives a position to. Where its last change is stored travels in a transaction-local
-- setting, because a savepoint rolls that back:
--   flagent_cdc.open  <number that own_group() gives>/<group>/<place of the last change>/<f if that is the first one, else n>
--                     and, for capture_update() alone, which reads it just after: /<its number>/<whether the group has nested ones>
--
-- Any session can set it to anything, and must not be able to hide or to forge a change that way. A change joins a group only
-- if the group is one of this transaction and its last change is found at that place; otherwise join_group() looks for
-- it. Its number follows that of the change found: a forged place leads to a number that is taken, and the writer fails. The
-- look-up is by place, not by index, because reading an index that others write to would make SERIALIZABLE writers fail each
-- other; inside the INSERT it costs 1 µs.
--
-- The functions of lanes do the same with tables of their own. One table for all, with the lane in its key, would ask for
-- a rewrite of the logs of those who upgrade.
create or replace function flagent_cdc.log_change(
    in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json, in_relation oid default null,
    in_old_place tid default null, in_new_place tid default null, in_is_own boolean default null
) returns boolean
    language plpgsql
    -- A plan is kept for the session, and may have been made while the log was small: then it would read all of the log for
    -- each change, 0.1 s for the 10 000th.
    set enable_seqscan = off
    as $$
declare
    own      constant bigint := flagent_cdc.own_group(0);
    open     constant text := pg_catalog.current_setting('flagent_cdc.open', true);
    in_depth constant smallint := pg_catalog.pg_trigger_depth();
    in_group bigint := own;
    place    tid;
    nested   boolean;
    ignored  text;
begin
    if pg_catalog.starts_with(open, own || '/') then
        in_group := pg_catalog.split_part(open, '/', 2);
        if in_group & x'03ffffffffffffff'::bigint <> own then
            in_group := own;
        elsif pg_catalog.split_part(open, '/', 4) = 'n' then
            place := pg_catalog.split_part(open, '/', 3);
            insert into flagent_cdc.change_log as n (
                transaction_group, id, schema_name, table_name, op, key, before, after, relation, old_place, new_place, depth,
                has_nested, is_own
            )
            select in_group, l.id + 1, in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place,
                   in_new_place, in_depth, l.has_nested or in_depth > 1, in_is_own
              from only flagent_cdc.change_log l
             where l.ctid = place and l.transaction_group = in_group and l.has_nested is not null
            returning n.has_nested,
                      pg_catalog.set_config('flagent_cdc.open', pg_catalog.concat(own, '/', in_group, '/', n.ctid, '/n/', n.id, '/', n.has_nested), true),
                      case when pg_catalog.current_setting('transaction_isolation') = 'serializable' then
                          flagent_cdc.note_places('flagent_cdc.places_0', pg_catalog.current_setting('flagent_cdc.places_0', true), n.ctid::text)
                      end
                 into nested, ignored, ignored;
            if found then
                return nested;
            end if;
        elsif pg_catalog.split_part(open, '/', 4) = 'f' then
            place := pg_catalog.split_part(open, '/', 3);
            insert into flagent_cdc.change_log as n (
                transaction_group, id, schema_name, table_name, op, key, before, after, relation, old_place, new_place, depth,
                has_nested, is_own
            )
            select in_group, 2, in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place,
                   in_new_place, in_depth, l.has_nested or in_depth > 1, in_is_own
              from flagent_cdc.change_log_first l
             where l.ctid = place and l.transaction_group = in_group and l.has_nested is not null
            returning n.has_nested,
                      pg_catalog.set_config('flagent_cdc.open', pg_catalog.concat(own, '/', in_group, '/', n.ctid, '/n/', n.id, '/', n.has_nested), true),
                      case when pg_catalog.current_setting('transaction_isolation') = 'serializable' then
                          flagent_cdc.note_places('flagent_cdc.places_0', place::text, n.ctid::text)
                      end
                 into nested, ignored, ignored;
            if found then
                return nested;
            end if;
        end if;
    end if;

    insert into flagent_cdc.change_log_first as f (
        transaction_group, id, schema_name, table_name, op, key, before, after, relation, old_place, new_place, depth,
        has_nested, is_own
    )
    values (
        in_group, 1, in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place, in_new_place, in_depth,
        in_depth > 1, in_is_own
    )
    on conflict do nothing
    returning f.has_nested,
              pg_catalog.set_config('flagent_cdc.open', pg_catalog.concat(own, '/', in_group, '/', f.ctid, '/f/1/', f.has_nested), true)
         into nested, ignored;
    if found then
        return nested;
    end if;
    -- The group is there already: the writer has reset its settings, or COMMIT has closed the group.
    ignored := flagent_cdc.join_group(0, 'flagent_cdc.open');
    return flagent_cdc.log_change(
        in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place, in_new_place, in_is_own
    );
end
$$;

revoke all on function flagent_cdc.log_change(text, text, text, json, json, json, oid, tid, tid, boolean) from public;
