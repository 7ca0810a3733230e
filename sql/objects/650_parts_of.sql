-- parts_of: the relations that hold a table's rows: its leaf partitions, or the table.
create or replace function flagent_cdc.parts_of(in_table oid) returns setof oid
    language sql
    stable
    as $$
    select p.relid::oid from pg_catalog.pg_partition_tree(in_table) p where p.isleaf
    union
    select c.oid from pg_catalog.pg_class c where c.oid = in_table and c.relkind <> 'p'
$$;

revoke all on function flagent_cdc.parts_of(oid) from public;
