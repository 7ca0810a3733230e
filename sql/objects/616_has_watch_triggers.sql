-- has_watch_triggers: whether a table and its partitions have the triggers for these operations, and no others of ours, as
-- put_watch_triggers() creates them.
create or replace function flagent_cdc.has_watch_triggers(in_table oid, in_operations text[]) returns boolean
    language sql
    stable
    as $$
    with wanted (relation, name, type) as (
        -- tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate
        select in_table,
               case when c.relkind = 'p' then 'flagent_cdc_210_watch' else 'flagent_cdc_200_watch' end,
               1 + case when 'insert' = any (in_operations) then 4 else 0 end
                 + case when 'delete' = any (in_operations) then 8 else 0 end
                 + case when 'update' = any (in_operations) then 16 else 0 end
          from pg_catalog.pg_class c
         where c.oid = in_table and in_operations && '{insert,update,delete}'
        union all
        select in_table, 'flagent_cdc_230_watch', 2 + 32
         where 'truncate' = any (in_operations)
        union all
        select in_table, 'flagent_cdc_240_watch', 32
          from pg_catalog.pg_class c
         where c.oid = in_table and c.relkind = 'p' and 'truncate' = any (in_operations)
        union all
        select p.relid, 'flagent_cdc_250_watch', 2 + 32
          from pg_catalog.pg_partition_tree(in_table) p
         where p.parentrelid is not null and 'truncate' = any (in_operations)
    )
    select not exists (
        select
          from wanted w
          full join (
              select t.tgrelid, t.tgname, t.tgtype, t.tgenabled
                from pg_catalog.pg_trigger t
               where t.tgparentid = 0
                 and t.tgname ~ '^flagent_cdc_[0-9]+_watch$'
                 and (t.tgrelid = in_table or t.tgname = 'flagent_cdc_250_watch' and t.tgrelid in (
                     select p.relid from pg_catalog.pg_partition_tree(in_table) p
                 ))
          ) t on t.tgrelid = w.relation and t.tgname = w.name and t.tgtype = w.type and t.tgenabled = 'A'
         where w.relation is null or t.tgrelid is null
    )
$$;

revoke all on function flagent_cdc.has_watch_triggers(oid, text[]) from public;
