-- predicate_error: why SQL text is not a condition about one row of a table, as a sentence; null where it is one.
create or replace function flagent_cdc.predicate_error(in_table oid, in_predicate text) returns text
    language plpgsql
    stable
    strict
    set search_path = pg_catalog, pg_temp
    as $$
begin
    -- Parsed as matches_predicate() parses it, for no row at all.
    execute format(
        e'select true from (select (null::%s).*) as r where (%s\n) limit 0', in_table::regclass, in_predicate
    );
    return null;
exception
    when others then return format('the predicate does not compile: %s', sqlerrm);
end
$$;

revoke all on function flagent_cdc.predicate_error(oid, text) from public;
