-- is_plain: whether to_json() may render the rows of a table: no cast of their types is run, see calls_cast(), and no column is
-- generated when it is read, for which a trigger gets null.
--
-- Called by: the capture functions, for each row or statement: either can change at any time.
-- Costs:     one look at the table's columns; one more where it has types of users; 0.1 ms more in a database that has casts of
--            such types to json.
create or replace function flagent_cdc.is_plain(in_table oid) returns boolean
    language plpgsql
    stable
    as $$
begin
    -- Types of users have numbers from 16384 on; a dropped column has none.
    return not exists (
            select
              from pg_catalog.pg_attribute a
             where a.attrelid = in_table and (a.atttypid >= 16384 or a.attgenerated = 'v')
        )
        or not exists (select from pg_catalog.pg_attribute a where a.attrelid = in_table and a.attgenerated = 'v')
        and (
            not exists (select from pg_catalog.pg_cast c where c.castsource >= 16384 and c.casttarget = 'json'::regtype)
            or not flagent_cdc.calls_cast((select c.reltype from pg_catalog.pg_class c where c.oid = in_table))
        );
end
$$;

revoke all on function flagent_cdc.is_plain(oid) from public;
