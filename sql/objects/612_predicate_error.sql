-- predicate_error: why SQL text is not a condition about one row of a table, as a sentence; null where it is one.
--
-- Called by: compiles(), by this name or by a copy that belongs to the table's owner.
create or replace function flagent_cdc.predicate_error(in_table oid, in_predicate text) returns text
    language plpgsql
    stable
    strict
    set search_path = pg_catalog, pg_temp
    set standard_conforming_strings = on
    as $$
declare
    virtual text;
begin
    -- Parsed as matches_predicate() parses it, for no row at all. A trigger does not get the values of virtual generated columns.
    select string_agg(format('%I', a.attname), ', ' order by a.attnum) into virtual
      from pg_attribute a
     where a.attrelid = in_table and a.attgenerated = 'v' and not a.attisdropped;
    execute format(
        e'select true from (select %s from (select (null::%s).*) as r) as r where (%s\n) limit 0',
        (
            select string_agg(format('r.%I', a.attname), ', ' order by a.attnum)
              from pg_attribute a
             where a.attrelid = in_table and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
        ),
        in_table::regclass, in_predicate
    );
    return null;
exception
    when others then
        return format('the predicate does not compile: %s', sqlerrm)
            || coalesce(' (virtual generated columns are not captured: ' || virtual || ')', '');
end
$$;

revoke all on function flagent_cdc.predicate_error(oid, text) from public;
