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
begin
    if in_table <> all (flagent_cdc.flagent_tables())
        or not exists (select from flagent_cdc.attachment a where a.schema_name = in_schema)
    then
        raise exception using
            errcode = 'undefined_table', message = format('%I.%I is not one of the attached tables', in_schema, in_table);
    end if;
    return query execute format(
        'select %s from %I.%I flagent_cdc_row', flagent_cdc.row_expression(format('%I.%I', in_schema, in_table)::regclass),
        in_schema, in_table
    );
end
$$;

revoke all on function flagent_cdc.flag_rows(text, text) from public;
