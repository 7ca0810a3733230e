-- grant_runtime: gives a role what the server needs at run time, and no more: to read the log and the options of watched
-- tables, to call prune() and its siblings, which delete only what the owner's retention allows, record_key_use() and
-- record_exposures().
--
-- LISTEN needs no right in PostgreSQL. Schemas that are attached later are granted by attach().
create or replace function flagent_cdc.grant_runtime(in_role text) returns void
    language plpgsql
    as $$
declare
    schema_name text;
begin
    execute pg_catalog.format('grant usage on schema flagent_cdc to %I', in_role);
    execute pg_catalog.format(
        'grant select on table flagent_cdc.installation, flagent_cdc.attachment, flagent_cdc.change_log,'
        ' flagent_cdc.commit_log, flagent_cdc.alembic_version, flagent_cdc.api_key, flagent_cdc.stream_token_secret,'
        ' flagent_cdc.api_key_use, flagent_cdc.exposure,'
        ' flagent_cdc.watched_table, flagent_cdc.retention, flagent_cdc.lane, flagent_cdc.lane_change_log,'
        ' flagent_cdc.lane_commit_log, flagent_cdc.read_order_log to %I',
        in_role
    );
    execute pg_catalog.format(
        'grant execute on function flagent_cdc.log_identity(), flagent_cdc.succeeds(text),'
        ' flagent_cdc.precedes(text), flagent_cdc.watched(),'
        ' flagent_cdc.capture_problems(), flagent_cdc.relog_unlogged(), flagent_cdc.log_schema_changes(),'
        ' flagent_cdc.watched_relation(integer),'
        ' flagent_cdc.prune(interval, bigint, integer), flagent_cdc.prune_lanes(interval, integer),'
        ' flagent_cdc.prune_lane(integer, interval, bigint, integer),'
        ' flagent_cdc.record_key_use(integer[], text[], text[], integer[]), flagent_cdc.flag_rows(text, text),'
        ' flagent_cdc.record_exposures(text[], text[], text[], bigint[], interval),'
        ' flagent_cdc.open_flag_rows(text, text, text[], refcursor),'
        ' flagent_cdc.backfill_begin(integer), flagent_cdc.backfill_rows(integer, oid, bigint, bigint),'
        ' flagent_cdc.filtered_rows(integer, oid, bigint, bigint, jsonb) to %I',
        in_role
    );
    insert into flagent_cdc.runtime_role (role_name) values (in_role) on conflict do nothing;
    for schema_name in
        select a.schema_name from flagent_cdc.attachment a where a.attached_at is not null order by a.schema_name
    loop
        perform flagent_cdc.grant_reading(in_role, schema_name);
    end loop;
end
$$;

revoke all on function flagent_cdc.grant_runtime(text) from public;
