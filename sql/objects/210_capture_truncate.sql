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
    -- One image, whatever the writer's session has set.
    set timezone = 'UTC'
    set datestyle = 'ISO, MDY'
    set intervalstyle = 'postgres'
    set bytea_output = 'hex'
    set extra_float_digits = 1
    set lc_monetary = 'C'
    set quote_all_identifiers = off
    set standard_conforming_strings = on
    set row_security = off
    as $$
declare
    ignored text;
begin
    if current_setting('session_replication_role') = 'replica' and flagent_cdc.is_applied_log() then
        return null;
    end if;
    if tg_nargs > 0 and tg_argv[0] = 'rows' then
        begin
            execute format(
                'select count(flagent_cdc.log_change(%L, %L, ''delete'', null, %s, null))'
                ' from only %s flagent_cdc_row where flagent_cdc.row_is_current(%L, flagent_cdc_row.ctid)',
                tg_table_schema, tg_table_name, flagent_cdc.row_expression(tg_relid), tg_relid::regclass, tg_relid
            ) into ignored;
        exception
            when insufficient_privilege then null; -- the truncation below covers them
        end;
    end if;
    ignored := flagent_cdc.log_change(tg_table_schema, tg_table_name, 'truncate', null, null, null);
    return null;
end
$$;

revoke all on function flagent_cdc.capture_truncate() from public;
