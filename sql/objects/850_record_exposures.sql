-- record_exposures: adds to the counts of the present minute how often clients got each variant.
--
-- Called by: each server process that takes exposures, every few seconds and never while a request waits.
-- Arguments: the first four are parallel: schema, flag, variant (the empty text for none) and count. in_keep is how long
--            counts are kept, at least a day.
-- Answers:   nothing.
-- Costs:     one insert or update per row, and the deletion of at most 10 000 counts that are too old.
-- May raise: nothing of its own; rows beyond 10 000, and counts that are not positive, are left out.
--
-- Runs with its owner's rights: the run-time role may call it although it can write nothing else. Rows are locked in
-- the order of the primary key, so that two servers never wait for each other in a circle.
create or replace function flagent_cdc.record_exposures(
    in_schemas text[], in_flags text[], in_variants text[], in_counts bigint[], in_keep interval
) returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    insert into flagent_cdc.exposure as e (minute, schema_name, flag_key, variant_key, count)
    select date_trunc('minute', statement_timestamp()), r.schema_name, r.flag_key, r.variant_key, sum(r.count)
      from (
        select g.schema_name, g.flag_key, g.variant_key, g.count
          from unnest(in_schemas, in_flags, in_variants, in_counts) as g (schema_name, flag_key, variant_key, count)
         where g.count > 0
         limit 10000
      ) r
     group by r.schema_name, r.flag_key, r.variant_key
     order by r.schema_name, r.flag_key, r.variant_key
        on conflict (schema_name, flag_key, minute, variant_key) do update
       set count = e.count + excluded.count;
    delete from flagent_cdc.exposure e
     where e.ctid = any (array(
        select o.ctid
          from flagent_cdc.exposure o
         where o.minute < statement_timestamp() - greatest(in_keep, interval '1 day')
         order by o.minute
         limit 10000
           for update skip locked
     ));
end
$$;

revoke all on function flagent_cdc.record_exposures(text[], text[], text[], bigint[], interval) from public;
