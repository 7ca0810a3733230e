-- logged_version: the row version that a change starts from, without the versions in between that are not logged.
create or replace function flagent_cdc.logged_version(in_relation oid, in_place tid) returns tid
    language plpgsql
    -- A plan is kept for the session, and may have been made while the table was small.
    set enable_seqscan = off
    as $$
declare
    place  tid := in_place;
    before tid;
begin
    while place is not null loop
        before := null;
        select v.old_place into before
          from flagent_cdc.unlogged_version v
         where v.xid = pg_catalog.pg_current_xact_id() and v.relation = in_relation and v.new_place = place;
        exit when before is null;
        place := before;
    end loop;
    return place;
end
$$;

revoke all on function flagent_cdc.logged_version(oid, tid) from public;
