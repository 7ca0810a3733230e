-- chain_places: the row versions that changes start from, without the versions in between that are not logged.
--
-- Called by: order_group(), with the places that the changes start from and the tables that hold them.
create or replace function flagent_cdc.chain_places(in_relations oid[], in_places tid[]) returns tid[]
    language plpgsql
    set search_path = pg_catalog, pg_temp
    -- A plan is kept for the session, and may have been made while the table was small.
    set enable_seqscan = off
    set enable_nestloop = off
    -- Restored when the function returns; see read_no_index().
    set enable_indexscan = on
    set enable_bitmapscan = on
    as $$
declare
    noted     constant tid[] := flagent_cdc.noted_places('flagent_cdc.unlogged_versions');
    places    tid[] := in_places;
    relations oid[];
    olds      tid[];
    news      tid[];
    moved     bigint;
    ignored   text;
begin
    -- A SERIALIZABLE writer reads no index; see note_places().
    if noted is not null then
        ignored := flagent_cdc.read_no_index(true);
        select array_agg(v.relation), array_agg(v.old_place), array_agg(v.new_place) into relations, olds, news
          from flagent_cdc.unlogged_version v
         where v.ctid = any (noted) and v.xid = pg_current_xact_id();
    elsif current_setting('transaction_isolation') <> 'serializable'
        or current_setting('flagent_cdc.unlogged_versions', true) <> ''
    then
        select array_agg(v.relation), array_agg(v.old_place), array_agg(v.new_place) into relations, olds, news
          from flagent_cdc.unlogged_version v
         where v.xid = pg_current_xact_id();
    end if;
    loop
        exit when relations is null;
        select array_agg(coalesce(v.old_place, p.place) order by p.number), count(v.old_place) into places, moved
          from unnest(in_relations, places) with ordinality as p (relation, place, number)
          left join unnest(relations, olds, news) as v (relation, old_place, new_place)
            on v.relation = p.relation and v.new_place = p.place;
        exit when moved = 0;
    end loop;
    return places;
end
$$;

revoke all on function flagent_cdc.chain_places(oid[], tid[]) from public;
