-- log_change: writes one change into the change log, into the transaction's open batch or as the first of a new one.
--
-- Called by: capture(), capture_truncate() and attach(), always inside the transaction that makes the change.
-- Costs:     one insert and one or two settings; about 6 µs for the rows of a bulk change.
-- May raise: only what any insert may raise (disk full, out of memory).
--
-- What belongs to the transaction travels in transaction-local settings, because they roll back with a savepoint and
-- because reading it back from a table would make SERIALIZABLE writers fail each other:
--   flagent_cdc.transaction  its id, while a batch is open; a value left over from elsewhere is thus harmless
--   flagent_cdc.batch        the open batch
--   flagent_cdc.count        how many changes it has
--   flagent_cdc.changes      the changes as JSON, comma-separated, for the notification; empty once they cannot fit
--
-- Assignments instead of PERFORM: plpgsql evaluates them without starting a query.
create or replace function flagent_cdc.log_change(
    in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json
) returns integer
    language plpgsql
    as $$
declare
    most_changes constant integer := 64;
    most_bytes   constant integer := 7700; -- a payload must stay below 8000; seal() adds 100 to 300
    xid          text := pg_catalog.pg_current_xact_id();
    in_batch     bigint;
    in_id        integer := 1;
    is_bulk      boolean := false;
    texts        text := '';
begin
    if pg_catalog.current_setting('flagent_cdc.transaction', true) = xid then
        in_batch := pg_catalog.current_setting('flagent_cdc.batch');
        in_id := pg_catalog.current_setting('flagent_cdc.count')::integer + 1;
        texts := pg_catalog.current_setting('flagent_cdc.changes');
        is_bulk := texts = '';
    else
        in_batch := pg_catalog.nextval('flagent_cdc.change_batch');
        texts := pg_catalog.set_config('flagent_cdc.transaction', xid, true)
            || pg_catalog.set_config('flagent_cdc.batch', in_batch::text, true);
        texts := '';
    end if;

    if not is_bulk then
        -- Sizes first: what cannot fit is not even put together.
        texts := case
            when in_id > most_changes
                or coalesce(pg_catalog.octet_length(in_before::text), 0)
                    + coalesce(pg_catalog.octet_length(in_after::text), 0)
                    + pg_catalog.octet_length(texts) > most_bytes
            then ''
            else texts || case when texts = '' then '' else ',' end
                || '{"schema":' || pg_catalog.to_json(in_schema) || ',"table":' || pg_catalog.to_json(in_table)
                || ',"op":"' || in_op
                || '","key":' || coalesce(in_key::text, 'null')
                || ',"before":' || coalesce(in_before::text, 'null')
                || ',"after":' || coalesce(in_after::text, 'null') || '}'
        end;
        texts := pg_catalog.set_config(
            'flagent_cdc.changes',
            case when pg_catalog.octet_length(texts) > most_bytes then '' else texts end,
            true
        );
    end if;
    texts := pg_catalog.set_config('flagent_cdc.count', in_id::text, true);

    if in_id = 1 then
        insert into flagent_cdc.change_log_first (batch, id, schema_name, table_name, op, key, before, after)
        values (in_batch, in_id, in_schema, in_table, in_op, in_key, in_before, in_after);
    else
        insert into flagent_cdc.change_log (batch, id, schema_name, table_name, op, key, before, after)
        values (in_batch, in_id, in_schema, in_table, in_op, in_key, in_before, in_after);
    end if;
    return in_id;
end
$$;

revoke all on function flagent_cdc.log_change(text, text, text, json, json, json) from public;
