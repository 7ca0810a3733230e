-- capture_watched_truncate: logs that a data team's table, or one of its partitions, was emptied.
--
-- Fires:     before truncate of a watched table; after it, if the table is partitioned; before truncate of a partition.
-- Arguments: as log_watched() describes them.
-- Costs:     about 10 µs; for a partition that is emptied by itself 12 µs for each of its rows, for each is logged as
--            deleted: the table is not empty then, and nobody else knows which rows have gone.
-- May raise: nothing of its own: rows that its owner may not read are left out.
create or replace function flagent_cdc.capture_watched_truncate() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    watched     oid := tg_relid;
    schema_name text := tg_table_schema;
    table_name  text := tg_table_name;
    count       bigint;
begin
    if tg_name = 'flagent_cdc_250_watch' then
        watched := pg_partition_root(tg_relid);
        -- Emptied with the whole table, which is logged as such; or no longer a partition.
        if watched is null or current_setting('flagent_cdc.truncated', true) = watched::text then
            return null;
        end if;
        begin
            execute format(
                'select count(flagent_cdc.log_watched(%L, %L, %L, ''delete'', to_json(t), null, $1)) from only %s t',
                watched, (parse_ident(watched::regclass::text))[1], (parse_ident(watched::regclass::text))[2],
                tg_relid::regclass
            ) || case when tg_argv[2] <> '' then format(' where flagent_cdc.satisfies(t, %L)', tg_argv[2]) else '' end
            into count using tg_argv;
        exception
            when insufficient_privilege then null;
        end;
    elsif tg_when = 'AFTER' then
        perform set_config('flagent_cdc.truncated', '', true);
    else
        perform flagent_cdc.log_in_stream(tg_argv, schema_name, table_name, 'truncate', null, null, null);
        perform set_config('flagent_cdc.truncated', tg_relid::text, true);
    end if;
    return null;
end
$$;

revoke all on function flagent_cdc.capture_watched_truncate() from public;
