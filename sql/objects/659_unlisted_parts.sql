-- unlisted_parts: the unlogged relations of a table, itself or its partitions, that are not listed in unlogged_content; see
-- relog_unlogged().
create or replace function flagent_cdc.unlisted_parts(in_table oid) returns setof oid
    language sql
    stable
    as $$
    select c.oid
      from flagent_cdc.parts_of(in_table) p (oid)
      join pg_catalog.pg_class c on c.oid = p.oid
     where c.relpersistence = 'u'
       and not exists (select from flagent_cdc.unlogged_content u where u.relation = c.oid)
$$;

revoke all on function flagent_cdc.unlisted_parts(oid) from public;
