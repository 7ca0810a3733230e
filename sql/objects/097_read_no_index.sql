-- read_no_index: whether the plans of the caller that are made from now on avoid indexes, so that rows are read by their places
-- alone. Of a small table, all of an index may seem cheaper than a few places.
--
-- Called by: functions that set enable_indexscan and enable_bitmapscan themselves, so that the settings end with them.
create or replace function flagent_cdc.read_no_index(in_no_index boolean) returns text
    language sql
    as $$
    select pg_catalog.concat(
        pg_catalog.set_config('enable_indexscan', (not in_no_index)::text, true),
        pg_catalog.set_config('enable_bitmapscan', (not in_no_index)::text, true)
    )
$$;

revoke all on function flagent_cdc.read_no_index(boolean) from public;
