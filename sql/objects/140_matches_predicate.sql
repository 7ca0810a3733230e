-- satisfies: whether a row is one of those that its table is watched for.
--
-- Costs:     about 16 µs, for the predicate is SQL and read anew each time. A WHEN clause would cost nothing, and keep
--            the table's owner from dropping the column or changing its type.
-- May raise: nothing: a row for which the predicate fails is not told. flagent_cdc.watched() says what is wrong with it.
create or replace function flagent_cdc.satisfies(in_row record, in_predicate text) returns boolean
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
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

revoke all on function flagent_cdc.satisfies(record, text) from public;
