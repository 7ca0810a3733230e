-- log_watched_change: writes one change into the log of the lane that its table belongs to.
--
-- Called by: log_watched() and capture_watched_truncate(), with the options of the table's triggers.
-- Costs:     in a lane ordered when read one insert in all; COMMIT does nothing then, and no writer waits for another.
create or replace function flagent_cdc.log_watched_change(
    in_options flagent_cdc.capture_options, in_schema text, in_table text, in_op text, in_key json, in_before json,
    in_after json
) returns void
    language plpgsql
    as $$
declare
    ignored text;
begin
    if in_options.lane = 0 then
        ignored := flagent_cdc.log_change(in_schema, in_table, in_op, in_key, in_before, in_after);
    elsif in_options.lane_order = 'commit' then
        ignored := flagent_cdc.log_lane_change(
            in_options.lane, in_schema, in_table, in_op, in_key, in_before, in_after
        );
    else
        insert into flagent_cdc.read_order_log (
            lane, xid, id, origin, changed_at, session_user_name, application_name, schema_name, table_name, op, key,
            before, after
        )
        values (
            in_options.lane, pg_catalog.pg_current_xact_id()::text::bigint,
            pg_catalog.nextval('flagent_cdc.read_order_change'), 'flagent_cdc.read_order_log'::regclass,
            pg_catalog.clock_timestamp(), session_user, pg_catalog.current_setting('application_name'), in_schema,
            in_table, in_op, in_key, in_before, in_after
        );
    end if;
end
$$;

revoke all on function flagent_cdc.log_watched_change(
    flagent_cdc.capture_options, text, text, text, json, json, json
) from public;
