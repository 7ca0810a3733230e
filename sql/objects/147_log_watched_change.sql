-- log_watched_change: writes one change into the log of the lane that its table belongs to.
--
-- Called by: log_watched() and capture_watched_truncate(), with the options of the table's triggers.
create or replace function flagent_cdc.log_watched_change(
    in_options flagent_cdc.capture_options, in_schema text, in_table text, in_op text, in_key json, in_before json,
    in_after json, in_relation oid default null, in_old_place tid default null, in_new_place tid default null
) returns void
    language plpgsql
    as $$
declare
    ignored text;
begin
    if in_options.lane = 0 then
        ignored := flagent_cdc.log_change(
            in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place, in_new_place
        );
    elsif in_options.lane_order = 'commit' then
        ignored := flagent_cdc.log_lane_change(
            in_options.lane, in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place, in_new_place
        );
    else
        ignored := flagent_cdc.log_read_change(
            in_options.lane, in_schema, in_table, in_op, in_key, in_before, in_after, in_relation, in_old_place, in_new_place
        );
    end if;
end
$$;

revoke all on function flagent_cdc.log_watched_change(
    flagent_cdc.capture_options, text, text, text, json, json, json, oid, tid, tid
) from public;
