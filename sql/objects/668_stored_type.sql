-- stored_type: the name of a type, the same for types between which PostgreSQL changes a column without touching the rows, and
-- whose values have one text: numeric(10,2) and numeric(12,2), or varchar and text.
create or replace function flagent_cdc.stored_type(in_type text) returns text
    language sql
    immutable
    as $$
    select pg_catalog.replace(
        pg_catalog.regexp_replace(in_type, '[(][0-9, -]+[)]', ''), 'character varying', 'text'
    )
$$;

revoke all on function flagent_cdc.stored_type(text) from public;
