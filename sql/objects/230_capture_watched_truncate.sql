-- capture_watched_truncate: logs that a watched table, or one of its partitions, was truncated.
--
-- Fires:     before truncate of a watched table; after it, if the table is partitioned; before truncate of a partition.
-- Arguments: one, the text form of capture_options.
-- Costs:     about 10 µs; for a partition that is truncated alone 12 µs for each of its rows, because each is logged as
--            deleted: the table keeps its other rows, and no later statement can find out which ones are gone.
-- May raise: nothing of its own: rows that its owner may not read are left out, and those of a partition that the
--            transaction's snapshot cannot see, see row_is_current().
--
-- A partition that is truncated with its whole table logs nothing. Its table announces that by a row in truncating, which
-- exists for the time of that statement, rolls back with it, and which no writer can insert. The row's place travels in a
-- transaction-local setting, flagent_cdc.truncating_<oid>: the look-up is by place, because reading a table that others
-- write to would make SERIALIZABLE writers fail each other. A forged setting leads to no such row.
create or replace function flagent_cdc.capture_watched_truncate() returns trigger
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
    watched     oid := tg_relid;
    schema_name text := tg_table_schema;
    table_name  text := tg_table_name;
    own_xid     constant bigint := pg_current_xact_id()::text;
    options     constant flagent_cdc.capture_options := tg_argv[0]::flagent_cdc.capture_options;
    place       tid;
    count       bigint;
begin
    if current_setting('session_replication_role') = 'replica' and flagent_cdc.is_applied_log() then
        return null;
    end if;
    if tg_name = 'flagent_cdc_250_watch' then
        watched := pg_partition_root(tg_relid);
        if watched is null then
            return null; -- no longer a partition
        end if;
        place := nullif(current_setting('flagent_cdc.truncating_' || watched, true), '');
        if exists (
            select from flagent_cdc.truncating t where t.ctid = place and t.relation = watched and t.xid = own_xid
        ) then
            return null; -- truncated with the whole table, which logs it
        end if;
        begin
            execute format(
                'select count(flagent_cdc.log_watched(%1$L, %2$L, %3$L, %4$L, ''delete'', %5$s, null,'
                ' flagent_cdc_row.*, null, null, null, $1))'
                ' from only %6$s flagent_cdc_row where flagent_cdc.row_is_current(%2$L, flagent_cdc_row.ctid)',
                watched, tg_relid, (parse_ident(watched::regclass::text))[1], (parse_ident(watched::regclass::text))[2],
                flagent_cdc.row_expression(tg_relid), tg_relid::regclass
            ) || case
                when options.predicate is null then ''
                else format(
                    ' and flagent_cdc.satisfies_predicate(flagent_cdc_row.*, %L, %L)', options.predicate, tg_relid
                )
            end
            into count using options;
        exception
            when insufficient_privilege then null;
        end;
    elsif tg_when = 'AFTER' then
        delete from flagent_cdc.truncating t
         where t.ctid = nullif(current_setting('flagent_cdc.truncating_' || tg_relid, true), '')::tid
           and t.relation = tg_relid and t.xid = own_xid;
        if not found then
            -- Another trigger has changed the setting in between.
            delete from flagent_cdc.truncating t where t.relation = tg_relid and t.xid = own_xid;
        end if;
        perform set_config('flagent_cdc.truncating_' || tg_relid, '', true);
    else
        perform flagent_cdc.log_watched_change(options, schema_name, table_name, 'truncate', null, null, null);
        if exists (select from pg_class c where c.oid = tg_relid and c.relkind = 'p') then
            insert into flagent_cdc.truncating as t (relation, xid) values (tg_relid, own_xid) returning t.ctid into place;
            perform set_config('flagent_cdc.truncating_' || tg_relid, place::text, true);
        end if;
    end if;
    return null;
end
$$;

revoke all on function flagent_cdc.capture_watched_truncate() from public;
