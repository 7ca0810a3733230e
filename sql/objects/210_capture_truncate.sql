-- capture_truncate: logs that a table was truncated.
--
-- Fires:     before truncate, once per table (cascaded ones too); the table is locked exclusively by then.
-- Arguments: 'rows' logs each present row as a delete first, so that past states can be rebuilt from the log. Right for
--            Flagent's small tables; without it only the truncation itself is logged. Rows that the transaction's snapshot
--            cannot see, see row_is_current(), are covered by the truncation alone.
-- Costs:     about 10 µs per present row with 'rows', else 10 µs.
-- May raise: nothing of its own: rows that its owner may not read are left out.
create or replace function flagent_cdc.capture_truncate() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    id integer;
begin
    if tg_nargs > 0 and tg_argv[0] = 'rows' then
        begin
            execute format(
                'select pg_catalog.count(flagent_cdc.log_change(%L, %L, ''delete'', null, pg_catalog.to_json(t), null))'
                ' from only %I.%I t where flagent_cdc.row_is_current(%L, t.ctid)',
                tg_table_schema, tg_table_name, tg_table_schema, tg_table_name, tg_relid
            );
        exception
            when insufficient_privilege then null; -- the truncation below covers them
        end;
    end if;
    id := flagent_cdc.log_change(tg_table_schema, tg_table_name, 'truncate', null, null, null);
    return null;
end
$$;

revoke all on function flagent_cdc.capture_truncate() from public;
