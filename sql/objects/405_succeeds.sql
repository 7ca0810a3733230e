-- succeeds: whether this log continues another one whose cluster failed over or was restored: that one's identity is this
-- one's on an earlier timeline.
create or replace function flagent_cdc.succeeds(in_log text) returns boolean
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    timeline constant text := flagent_cdc.timeline();
begin
    if timeline = 'unknown' then
        return false;
    end if;
    return exists (
        select from generate_series(1, timeline::integer - 1) earlier
        where flagent_cdc.log_identity_on(earlier::text) = in_log
    );
end
$$;

revoke all on function flagent_cdc.succeeds(text) from public;
