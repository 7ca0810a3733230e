-- log_change: writes one change into the change log, into the transaction's open batch or as the opener of a new one.
--
-- Called by: capture(), capture_truncate() and attach(), always inside the transaction that makes the change.
-- Costs:     one insert, one nextval and two settings; 8 to 10 µs.
-- May raise: only what any insert may raise (disk full, out of memory).
--
-- What belongs to the transaction travels in transaction-local settings, because they roll back with a savepoint and
-- because reading it back from a table would make SERIALIZABLE writers fail each other:
--   flagent_cdc.batch    <xid>:<batch>:<changes so far>; the xid makes a value left over from elsewhere harmless
--   flagent_cdc.changes  the changes as JSON, comma-separated, for the notification; empty once they cannot fit into it
create or replace function flagent_cdc.log_change(
    in_schema text, in_table text, in_op text, in_key jsonb, in_before jsonb, in_after jsonb
) returns bigint
    language plpgsql
    as $$
declare
    most_changes constant integer := 64;
    most_bytes   constant integer := 7700; -- a payload must stay below 8000; seal() adds some 100 to 300
    xid          text := pg_catalog.pg_current_xact_id();
    state        text := pg_catalog.current_setting('flagent_cdc.batch', true);
    id           bigint := pg_catalog.nextval('flagent_cdc.change_id');
    opens        boolean;
    batch        bigint;
    changes      integer;
    texts        text := '';
begin
    opens := state is null or not pg_catalog.starts_with(state, xid || ':');
    if opens then
        batch := id;
        changes := 1;
    else
        batch := pg_catalog.split_part(state, ':', 2);
        changes := pg_catalog.split_part(state, ':', 3)::integer + 1;
    end if;

    -- Text is built only for what may still fit: a bulk change costs no more than its rows in the log.
    if changes <= most_changes then
        if not opens then
            texts := pg_catalog.current_setting('flagent_cdc.changes', true);
        end if;
        if opens or texts <> '' then
            if coalesce(pg_catalog.pg_column_size(in_before), 0) + coalesce(pg_catalog.pg_column_size(in_after), 0)
                + pg_catalog.octet_length(texts) <= most_bytes
            then
                texts := texts
                    || case when opens then '' else ',' end
                    || pg_catalog.json_build_object(
                        'schema', in_schema, 'table', in_table, 'op', in_op,
                        'key', in_key, 'before', in_before, 'after', in_after
                    );
                if pg_catalog.octet_length(texts) > most_bytes then
                    texts := '';
                end if;
            else
                texts := '';
            end if;
            perform pg_catalog.set_config('flagent_cdc.changes', texts, true);
        end if;
    elsif changes = most_changes + 1 then
        perform pg_catalog.set_config('flagent_cdc.changes', '', true);
    end if;
    perform pg_catalog.set_config('flagent_cdc.batch', xid || ':' || batch || ':' || changes, true);

    insert into flagent_cdc.change_log (id, batch, schema_name, table_name, op, key, before, after, opens)
    values (id, batch, in_schema, in_table, in_op, in_key, in_before, in_after, opens);
    return batch;
end
$$;

revoke all on function flagent_cdc.log_change(text, text, text, jsonb, jsonb, jsonb) from public;
