-- backfill_rows: filtered_rows() without a filter, for servers that know of none.
create or replace function flagent_cdc.backfill_rows(in_id integer, in_relation oid, in_from bigint, in_to bigint)
    returns table (key json, row_image json)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    return query
        select r.key, r.row_image from flagent_cdc.filtered_rows(in_id, in_relation, in_from, in_to, null) r;
end
$$;

revoke all on function flagent_cdc.backfill_rows(integer, oid, bigint, bigint) from public;
