-- attached_table: one of Flagent's tables in an attached schema.
--
-- Called by: flag_rows() and open_flag_rows(), which read it with their owner's rights.
-- May raise: undefined_table for another table.
create or replace function flagent_cdc.attached_table(in_schema text, in_table text) returns regclass
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if in_table <> all (flagent_cdc.flagent_tables())
        or not exists (select from flagent_cdc.attachment a where a.schema_name = in_schema)
    then
        raise exception using
            errcode = 'undefined_table', message = format('%I.%I is not one of the attached tables', in_schema, in_table);
    end if;
    return format('%I.%I', in_schema, in_table)::regclass;
end
$$;

revoke all on function flagent_cdc.attached_table(text, text) from public;
