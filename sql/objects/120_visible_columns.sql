-- visible_columns: the columns of a watched table that may leave the database, by their present names.
--
-- Called by: log_watched(), for tables that are watched with columns included, excluded or masked.
-- Costs:     one look at the catalog, about 10 µs.
--
-- A name is not enough: a hidden column that was renamed to a visible one's name must stay hidden. A column is visible while
-- the attribute number that it had when the table was watched still carries its name. A restored table is a different
-- relation with numbers of its own; there the names decide, provided that all columns known at the time of watching exist.
create or replace function flagent_cdc.visible_columns(in_table oid, in_options flagent_cdc.capture_options)
    returns text[]
    language plpgsql
    stable
    as $$
declare
    visible text[];
begin
    if in_table = in_options.relation then
        select pg_catalog.array_agg(a.attname::text) into visible
          from pg_catalog.pg_attribute a
         where a.attrelid = in_table
           and a.attnum = any (in_options.visible_numbers)
           and a.attname = in_options.visible_columns[pg_catalog.array_position(in_options.visible_numbers, a.attnum)];
    else
        select pg_catalog.array_agg(a.attname::text) into visible
          from pg_catalog.pg_attribute a
         where a.attrelid = in_table and a.attnum > 0 and not a.attisdropped;
        visible := case when in_options.known_columns <@ visible then in_options.visible_columns else '{}' end;
    end if;
    return coalesce(visible, '{}');
end
$$;

revoke all on function flagent_cdc.visible_columns(oid, flagent_cdc.capture_options) from public;
