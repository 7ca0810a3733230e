-- log_unlogged_version: notes that a trigger of the writer's made a row version that is not logged, so that order_group() finds
-- the change that continues it.
--
-- Called by: the capture functions, for an update that changes nothing or nothing visible, or that a predicate hides, where a
--            trigger made it.
create or replace function flagent_cdc.log_unlogged_version(in_relation oid, in_old_place tid, in_new_place tid) returns void
    language plpgsql
    as $$
declare
    ignored text;
begin
    insert into flagent_cdc.unlogged_version as v (xid, relation, old_place, new_place)
    values (pg_catalog.pg_current_xact_id(), in_relation, in_old_place, in_new_place)
    returning case when pg_catalog.current_setting('transaction_isolation') = 'serializable' then
        flagent_cdc.note_places(
            'flagent_cdc.unlogged_versions', pg_catalog.current_setting('flagent_cdc.unlogged_versions', true), v.ctid::text
        )
    end into ignored;
end
$$;

revoke all on function flagent_cdc.log_unlogged_version(oid, tid, tid) from public;
