-- matches_predicate: whether a row satisfies the predicate that its table is watched with.
--
-- Called by: satisfies_predicate(), by this name or by a copy that belongs to the table's owner.
-- Costs:     about 16 µs, because the predicate is SQL text and parsed each time. A WHEN clause would cost nothing, but
--            would keep the table's owner from dropping the column or changing its type.
-- May raise: nothing: a row for which the predicate fails is not logged. flagent_cdc.watched() reports the error.
create or replace function flagent_cdc.matches_predicate(in_row record, in_predicate text) returns boolean
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    set standard_conforming_strings = on
    set transform_null_equals = off
    as $$
declare
    answer boolean;
begin
    -- On lines of its own, so that a comment in it ends with it.
    execute e'select true from (select ($1).*) as r where (' || in_predicate || e'\n)' into answer using in_row;
    return coalesce(answer, false);
exception
    when others then return false;
end
$$;

revoke all on function flagent_cdc.matches_predicate(record, text) from public;
