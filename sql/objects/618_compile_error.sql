-- compile_error: why a predicate is not a condition about one row of a table, asked with the rights of the table's owner as
-- satisfies_predicate() evaluates it; null where it is one, or where there is no predicate.
create or replace function flagent_cdc.compile_error(in_table oid, in_predicate text) returns text
    language plpgsql
    stable
    as $$
declare
    owner  constant oid := (select c.relowner from pg_catalog.pg_class c where c.oid = in_table);
    copy   constant oid := pg_catalog.to_regproc('flagent_cdc.predicate_error_for_' || owner);
    answer text;
begin
    if in_predicate is null then
        return null;
    elsif owner = (
        select p.proowner from pg_catalog.pg_proc p where p.oid = 'flagent_cdc.predicate_error(oid,text)'::regprocedure
    ) then
        return flagent_cdc.predicate_error(in_table, in_predicate);
    elsif copy is null or not pg_catalog.has_function_privilege(copy, 'execute') then
        return 'the predicate is not evaluated since the table has another owner: watch it again';
    end if;
    execute pg_catalog.format('select flagent_cdc.%I($1, $2)', 'predicate_error_for_' || owner)
       into answer using in_table, in_predicate;
    return answer;
end
$$;

revoke all on function flagent_cdc.compile_error(oid, text) from public;
