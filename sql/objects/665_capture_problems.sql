-- capture_problems: why changes of a captured table are not captured, or not all; no rows where all is well.
--
-- Called by: the server, within each minute.
--
-- Runs with its owner's rights, like watched().
create or replace function flagent_cdc.capture_problems() returns table (table_name text, problem text)
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
begin
    return query
        select format('%I.%I', a.schema_name, t.name),
               case when c.oid is null then 'the table is gone'
                    when c.relpersistence = 'u' and flagent_cdc.has_triggers(c.oid)
                    then 'the table is unlogged: a crash of PostgreSQL empties it; alter table ... set logged'
                    else 'capture triggers are missing, disabled or not enabled always: run flagent-cdc migrate'
               end
          from flagent_cdc.attachment a
         cross join unnest(flagent_cdc.flagent_tables()) as t (name)
          left join pg_namespace n on n.nspname = a.schema_name
          left join pg_class c on c.relnamespace = n.oid and c.relname = t.name and c.relkind in ('r', 'p')
         where a.attached_at is not null
           and (c.oid is null or c.relpersistence = 'u' or not flagent_cdc.has_triggers(c.oid))
         order by a.schema_name, t.name;
    return query
        select format('%I.%I', w.schema_name, w.table_name), p.problem
          from flagent_cdc.watched() w
         cross join unnest(w.problems) with ordinality as p (problem, number)
         order by w.schema_name, w.table_name, p.number;
    return query
        select 'flagent_cdc.' || wanted.table_name,
               format('the trigger %s is missing, disabled or not enabled always', wanted.name)
               || ': run flagent-cdc migrate --repair'
          from (values
              ('change_log_first', 'flagent_cdc_900_assign_position'),
              ('deferred_commit', 'flagent_cdc_910_assign_position'),
              ('lane_change_log_first', 'flagent_cdc_920_assign_position'),
              ('deferred_commit', 'flagent_cdc_930_assign_position'),
              ('deferred_commit', 'flagent_cdc_940_order_read_changes')
          ) as wanted (table_name, name)
         where not exists (
             select from pg_trigger t
              where t.tgrelid = format('flagent_cdc.%I', wanted.table_name)::regclass
                and t.tgname = wanted.name and t.tgenabled = 'A'
         )
         order by wanted.name;
end
$$;

revoke all on function flagent_cdc.capture_problems() from public;
