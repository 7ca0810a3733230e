-- Counts of exposures.

-- record_exposures: Adds counts to the present minute, and deletes those that are too old.
select flagent_cdc.record_exposures(
    %(schemas)s::text[], %(flags)s::text[], %(variants)s::text[], %(counts)s::bigint[],
    pg_catalog.make_interval(secs => %(keep_s)s::double precision)
);

-- usage: The counts of one flag between two times, oldest first, at most so many.
select e.minute, e.variant_key, e.count
from flagent_cdc.exposure e
where e.schema_name = %(schema)s and e.flag_key = %(flag)s and e.minute >= %(since)s and e.minute < %(until)s
order by e.minute, e.variant_key
limit %(limit)s;
