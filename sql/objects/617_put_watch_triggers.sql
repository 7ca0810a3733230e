-- put_watch_triggers: gives a table and its partitions exactly the triggers that watching it needs; watch() holds the lock.
create or replace function flagent_cdc.put_watch_triggers(
    in_table oid, in_operations text[], in_options flagent_cdc.capture_options
) returns void
    language plpgsql
    as $$
declare
    events    text;
    is_parent boolean;
    watched   text;
    put       record;
begin
    select c.relkind = 'p', pg_catalog.format('%I.%I', n.nspname, c.relname) into is_parent, watched
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = in_table;
    select pg_catalog.string_agg(o.name, ' or ') into events
      from pg_catalog.unnest(in_operations) as o (name)
     where o.name <> 'truncate';

    for put in
        select watched as relation, name, timing, function, wanted
          from (values
              ('flagent_cdc_200_watch', 'after ' || events || ' on %s for each row', 'capture_watched',
               events is not null and not is_parent),
              ('flagent_cdc_210_watch', 'after ' || events || ' on %s for each row', 'capture_watched',
               events is not null and is_parent),
              ('flagent_cdc_230_watch', 'before truncate on %s for each statement', 'capture_watched_truncate',
               'truncate' = any (in_operations)),
              ('flagent_cdc_240_watch', 'after truncate on %s for each statement', 'capture_watched_truncate',
               'truncate' = any (in_operations) and is_parent)
          ) as of_table (name, timing, function, wanted)
        union all
        select pg_catalog.format('%I.%I', n.nspname, c.relname), 'flagent_cdc_250_watch',
               'before truncate on %s for each statement', 'capture_watched_truncate', 'truncate' = any (in_operations)
          from pg_catalog.pg_partition_tree(in_table) p
          join pg_catalog.pg_class c on c.oid = p.relid
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where p.parentrelid is not null
    loop
        if put.wanted then
            execute pg_catalog.format(
                'create or replace trigger %I ' || put.timing || ' execute function flagent_cdc.%I(%L)',
                put.name, put.relation, put.function, in_options::text
            );
            execute pg_catalog.format('alter table %s enable always trigger %I', put.relation, put.name);
        elsif exists (
            select from pg_catalog.pg_trigger t where t.tgrelid = put.relation::regclass and t.tgname = put.name
        ) then
            execute pg_catalog.format('drop trigger %I on %s', put.name, put.relation);
        end if;
    end loop;
end
$$;

revoke all on function flagent_cdc.put_watch_triggers(oid, text[], flagent_cdc.capture_options) from public;
