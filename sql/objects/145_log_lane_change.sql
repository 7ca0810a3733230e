-- log_lane_change: writes one change into the log of a lane ordered at commit; assign_lane_position() puts it in order.
--
-- Called by: log_watched_change(), inside the transaction that makes the change.
-- Answers:   as log_change(), whose rules it follows, with tables of its own.
-- Costs:     like log_change(): one insert and one setting.
-- May raise: only what any insert may raise.
--
-- Two transaction-local settings:
--   flagent_cdc.lane_<id>  what flagent_cdc.open is for the flags' lane
--   flagent_cdc.lanes      the transaction id, and all lanes that have an open group
create or replace function flagent_cdc.log_lane_change(
    in_lane integer, in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json,
    in_relation oid default null, in_old_place tid default null, in_new_place tid default null
) returns boolean
    language plpgsql
    -- A plan is kept for the session, and may have been made while the log was small: then it would read all of the log for
    -- each change, 0.1 s for the 10 000th.
    set enable_seqscan = off
    as $$
declare
    setting  constant text := 'flagent_cdc.lane_' || in_lane;
    own      constant bigint := flagent_cdc.own_group(in_lane);
    own_xid  constant text := pg_catalog.pg_current_xact_id();
    open     constant text := pg_catalog.current_setting(setting, true);
    in_depth constant smallint := pg_catalog.pg_trigger_depth();
    lanes    text := coalesce(pg_catalog.current_setting('flagent_cdc.lanes', true), '');
    in_group bigint := own;
    last     text;
    place    tid;
    nested   boolean;
    ignored  text;
begin
    if pg_catalog.starts_with(open, own || '/') then
        in_group := pg_catalog.split_part(open, '/', 2);
        last := pg_catalog.split_part(open, '/', 4);
        if in_group & x'03ffffffffffffff'::bigint <> own then
            in_group := own;
        elsif last <> '' then
            place := pg_catalog.split_part(open, '/', 3);
            insert into flagent_cdc.lane_change_log as n (
                transaction_group, id, schema_name, table_name, op, key, before, after, relation, old_place, new_place, depth,
                has_nested
            )
            select in_group, l.id + 1, in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place,
                   in_new_place, in_depth, l.has_nested or in_depth > 1
              from (
                  select f.id, f.has_nested
                    from flagent_cdc.lane_change_log_first f
                   where f.ctid = place and f.transaction_group = in_group and f.lane = in_lane and last = 'f'
                  union all
                  select c.id, c.has_nested
                    from only flagent_cdc.lane_change_log c
                   where c.ctid = place and c.transaction_group = in_group and last = 'n'
              ) l
             where l.has_nested is not null
            returning n.has_nested,
                      pg_catalog.set_config(setting, pg_catalog.concat(own, '/', in_group, '/', n.ctid, '/n'), true),
                      case when pg_catalog.current_setting('transaction_isolation') = 'serializable' then
                          flagent_cdc.note_places(
                              'flagent_cdc.places_' || in_lane,
                              case when last = 'f' then place::text
                                  else pg_catalog.current_setting('flagent_cdc.places_' || in_lane, true) end,
                              n.ctid::text
                          )
                      end
                 into nested, ignored, ignored;
            if found then
                return nested;
            end if;
        end if;
    end if;

    insert into flagent_cdc.lane_change_log_first as f (
        transaction_group, id, schema_name, table_name, op, key, before, after, relation, old_place, new_place, depth,
        has_nested, lane
    )
    values (
        in_group, 1, in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place, in_new_place, in_depth,
        in_depth > 1, in_lane
    )
    on conflict do nothing
    returning f.has_nested, pg_catalog.set_config(setting, pg_catalog.concat(own, '/', in_group, '/', f.ctid, '/f'), true)
         into nested, ignored;
    if found then
        ignored := pg_catalog.set_config(
            'flagent_cdc.lanes',
            case when pg_catalog.split_part(lanes, '/', 1) = own_xid then lanes || ',' else own_xid || '/' end || in_lane,
            true
        );
        return nested;
    end if;
    ignored := flagent_cdc.join_group(in_lane, setting);
    return flagent_cdc.log_lane_change(
        in_lane, in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place, in_new_place
    );
end
$$;

revoke all on function flagent_cdc.log_lane_change(
    integer, text, text, text, json, json, json, oid, tid, tid
) from public;
