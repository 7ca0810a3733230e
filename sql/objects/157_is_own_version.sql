-- is_own_version: whether a row version was made by this transaction, also in a savepoint; in_age is the age of its xmin.
create or replace function flagent_cdc.is_own_version(in_age integer) returns boolean
    language sql
    stable
    as $$
    select in_age <= pg_catalog.age(x.xid::xid)
       and pg_catalog.pg_xact_status(
               (x.xid::text::bigint + pg_catalog.age(x.xid::xid) - in_age)::text::xid8
           ) = 'in progress'
      from pg_catalog.pg_current_xact_id() as x (xid)
$$;

revoke all on function flagent_cdc.is_own_version(integer) from public;
