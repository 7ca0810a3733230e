-- flag_rows: the rows of one of Flagent's tables in an attached schema, as changes would carry them.
--
-- Called by: the server, which reads them at one position in a REPEATABLE READ transaction.
-- May raise: undefined_table for another table, insufficient_privilege where the owner of flagent_cdc may not read it.
--
-- Runs with its owner's rights and, like the capture, no code of the tables' owner.
create or replace function flagent_cdc.flag_rows(in_schema text, in_table text) returns setof json
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
    set datestyle = 'ISO, MDY'
    set intervalstyle = 'postgres'
    set bytea_output = 'hex'
    set extra_float_digits = 1
    set lc_monetary = 'C'
    set quote_all_identifiers = off
    set standard_conforming_strings = on
    set row_security = off
    as $$
declare
    relation constant regclass := flagent_cdc.attached_table(in_schema, in_table);
begin
    return query execute format('select %s from %s flagent_cdc_row', flagent_cdc.row_expression(relation), relation);
end
$$;

revoke all on function flagent_cdc.flag_rows(text, text) from public;
