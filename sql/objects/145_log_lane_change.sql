-- log_stream_change: writes one change into the log of a stream of its own, which seal_stream() puts in order.
--
-- Called by: log_in_stream(), inside the transaction that makes the change.
-- Costs:     like log_change(): one insert and one setting.
-- May raise: only what any insert may raise.
--
-- What belongs to the transaction travels in transaction-local settings, because they roll back with a savepoint:
--   flagent_cdc.stream_<id>  the stream's open batch, where its first and its last change stand, and that one's number
--   flagent_cdc.streams      the transaction, and all streams that have an open batch
-- Any writer can set them to anything, and must not be able to hide a change by it, nor to have it told out of its order: a
-- change joins a batch only where that one's first change is found in its place and bears this transaction's id. Anything
-- else opens a batch of its own. Its number follows that of the change which is found in the last one's place: of another
-- one the follower is there already, and the writer fails.
create or replace function flagent_cdc.log_stream_change(
    in_stream integer, in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json
) returns void
    language plpgsql
    as $$
declare
    setting  constant text := 'flagent_cdc.stream_' || in_stream;
    own_xid  constant bigint := pg_catalog.pg_current_xact_id()::text;
    open     text := coalesce(pg_catalog.current_setting(setting, true), '');
    streams  text := coalesce(pg_catalog.current_setting('flagent_cdc.streams', true), '');
    in_batch bigint;
    in_id    integer;
    first    tid;
    last     tid;
    ignored  text;
begin
    if open ~ '^\d{1,18}/\(\d{1,9},\d{1,5}\)/\(\d{1,9},\d{1,5}\)/\d{1,9}$' then
        in_batch := pg_catalog.split_part(open, '/', 1);
        first := pg_catalog.split_part(open, '/', 2);
        last := pg_catalog.split_part(open, '/', 3);
        insert into flagent_cdc.stream_change_log as n (batch, id, schema_name, table_name, op, key, before, after)
        select f.batch, coalesce(l.id, 1) + 1, in_schema, in_table, in_op, in_key, in_before, in_after
          from flagent_cdc.stream_change_log_first f
          left join only flagent_cdc.stream_change_log l on l.ctid = last and l.batch = in_batch
         where f.ctid = first and f.batch = in_batch and f.stream = in_stream and f.xid = own_xid
        returning n.ctid, n.id into last, in_id;
        if found then
            ignored := pg_catalog.set_config(setting, in_batch || '/' || first || '/' || last || '/' || in_id, true);
            return;
        end if;
    end if;
    in_batch := pg_catalog.nextval('flagent_cdc.stream_batch');
    insert into flagent_cdc.stream_change_log_first as f
        (batch, id, schema_name, table_name, op, key, before, after, stream, xid)
    values (in_batch, 1, in_schema, in_table, in_op, in_key, in_before, in_after, in_stream, own_xid)
    returning f.ctid into first;
    ignored := pg_catalog.set_config(setting, in_batch || '/' || first || '/(0,0)/1', true)
        || pg_catalog.set_config(
            'flagent_cdc.streams',
            case when pg_catalog.split_part(streams, '/', 1) = own_xid::text then streams || ',' else own_xid || '/' end
                || in_stream,
            true
        );
end
$$;

revoke all on function flagent_cdc.log_stream_change(integer, text, text, text, json, json, json) from public;
