-- log_in_stream: writes one change into the log of the stream that its table belongs to.
--
-- Called by: log_watched() and capture_watched_truncate(), with their options: 8 the stream's number, 0 for that of the
--            flags, 9 its mode.
-- Costs:     in mode horizon one insert, in all; nothing is done at COMMIT, and nobody waits for anybody.
create or replace function flagent_cdc.log_in_stream(
    in_options text[], in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json
) returns void
    language plpgsql
    as $$
declare
    ignored text;
begin
    if coalesce(in_options[8], '0') = '0' then
        ignored := flagent_cdc.log_change(in_schema, in_table, in_op, in_key, in_before, in_after);
    elsif in_options[9] = 'notify' then
        ignored := flagent_cdc.log_stream_change(
            in_options[8]::integer, in_schema, in_table, in_op, in_key, in_before, in_after
        );
    else
        insert into flagent_cdc.horizon_log (
            stream, xid, id, origin, changed_at, session_user_name, application_name, schema_name, table_name, op, key,
            before, after
        )
        values (
            in_options[8]::integer, pg_catalog.pg_current_xact_id()::text::bigint,
            pg_catalog.nextval('flagent_cdc.horizon_change'), 'flagent_cdc.horizon_log'::regclass,
            pg_catalog.clock_timestamp(), session_user, pg_catalog.current_setting('application_name'), in_schema,
            in_table, in_op, in_key, in_before, in_after
        );
    end if;
end
$$;

revoke all on function flagent_cdc.log_in_stream(text[], text, text, text, json, json, json) from public;
