-- flagent_tables: the tables of Flagent that hold flags, parents before children.
create or replace function flagent_cdc.flagent_tables() returns text[]
    language sql
    immutable
    as $$
    select array['flags', 'segments', 'variants', 'constraints', 'distributions', 'tags', 'flags_tags']
$$;

revoke all on function flagent_cdc.flagent_tables() from public;
