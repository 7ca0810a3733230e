-- backfill_begin: the relations to read for every row of a watched table: the table, or its partitions, with their sizes.
--
-- Called by: a reader, at the beginning of the REPEATABLE READ transaction in which it then calls backfill_rows(). The rows
--            are as of the newest position that this transaction sees in commit_log.
-- Locks:     the table and its partitions in ACCESS SHARE, like any reader: it blocks neither readers nor writers.
-- May raise: undefined_table where the table is gone or not watched; serialization_failure where it was truncated or
--            rewritten between the transaction's snapshot and the lock, after which the snapshot misses rows: begin again.
--
-- Runs with its owner's rights: the server needs none on the tables.
create or replace function flagent_cdc.backfill_begin(in_id integer)
    returns table (relation oid, blocks bigint, estimated_rows double precision)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    root oid := flagent_cdc.watched_relation(in_id);
    part oid;
begin
    if root is null then
        raise exception using errcode = 'undefined_table', message = 'the table is gone or not watched any more';
    end if;
    for part in select p.oid from flagent_cdc.parts_of(root) p (oid) order by p.oid loop
        execute format('lock table only %s in access share mode', part::regclass);
        if not exists (
            select from pg_class c where c.oid = part and c.relfilenode = pg_relation_filenode(c.oid)
        ) then
            raise exception using errcode = 'serialization_failure', message = 'the table was rewritten just now';
        end if;
    end loop;
    return query
        select c.oid, pg_relation_size(c.oid) / current_setting('block_size')::bigint, greatest(c.reltuples, 0)::float8
          from flagent_cdc.parts_of(root) p (oid)
          join pg_class c on c.oid = p.oid
         order by c.oid;
end
$$;

revoke all on function flagent_cdc.backfill_begin(integer) from public;
