-- calls_cast: whether to_json() of a value of this type would run a cast to json that was written in SQL or another language.
--
-- Such a cast is a function of the type's owner. The capture runs with the rights of the owner of flagent_cdc, and must
-- neither run it nor fail where it fails. A cast in C belongs to an extension, which a superuser has installed.
create or replace function flagent_cdc.calls_cast(in_type oid) returns boolean
    language sql
    stable
    as $$
    with recursive reached (oid) as (
        select in_type
        union
        select made_of.oid
          from reached r
          join pg_catalog.pg_type t on t.oid = r.oid
         cross join lateral (
             select t.typbasetype as oid where t.typtype = 'd'
             union all
             select t.typelem where t.typelem <> 0 and t.typcategory = 'A'
             union all
             select f.atttypid
               from pg_catalog.pg_attribute f
              where t.typtype = 'c' and f.attrelid = t.typrelid and f.attnum > 0 and not f.attisdropped
         ) made_of
    )
    select exists (
        select
          from reached r
          join pg_catalog.pg_cast c on c.castsource = r.oid and c.casttarget = 'json'::regtype
          join pg_catalog.pg_proc p on p.oid = c.castfunc
          join pg_catalog.pg_language l on l.oid = p.prolang
         where c.castsource >= 16384 and l.lanname <> 'c'
    )
$$;

revoke all on function flagent_cdc.calls_cast(oid) from public;
