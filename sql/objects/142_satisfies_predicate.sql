-- satisfies_predicate: whether a row satisfies a predicate, evaluated with the rights of the table's owner.
--
-- Called by: the capture functions and backfill_rows(), which run with the rights of the owner of flagent_cdc. A predicate may run
--            what the table's owner can define: a cast of a column's type, for instance. So it is evaluated by a function
--            that belongs to the owner of the table, which prepare_predicate() has made.
-- Costs:     2 µs more than matches_predicate(); 20 µs more where the table has another owner than flagent_cdc.
-- May raise: nothing: without that function, or the right to call it, no row satisfies the predicate, and flagent_cdc.watched() reports it.
create or replace function flagent_cdc.satisfies_predicate(in_row record, in_predicate text, in_table oid) returns boolean
    language plpgsql
    stable
    as $$
declare
    owner  constant oid := (select c.relowner from pg_catalog.pg_class c where c.oid = in_table);
    copy   oid;
    answer boolean;
begin
    if owner = (select p.proowner from pg_catalog.pg_proc p where p.oid = 'flagent_cdc.matches_predicate(record,text)'::regprocedure)
    then
        return flagent_cdc.matches_predicate(in_row, in_predicate);
    end if;
    copy := pg_catalog.to_regproc('flagent_cdc.matches_predicate_for_' || owner);
    if copy is null or not pg_catalog.has_function_privilege(copy, 'execute') then
        return false;
    end if;
    execute pg_catalog.format('select flagent_cdc.%I($1, $2)', 'matches_predicate_for_' || owner)
       into answer using in_row, in_predicate;
    return answer;
end
$$;

revoke all on function flagent_cdc.satisfies_predicate(record, text, oid) from public;
