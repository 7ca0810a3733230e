-- key_of: the columns of a row, as JSON, that its table calls its key; null where one of them is no longer there.
create or replace function flagent_cdc.key_of(in_row json, in_columns text[]) returns json
    language sql
    immutable
    as $$
    select case when pg_catalog.bool_and(in_row operator(pg_catalog.->) c.name is not null)
        then pg_catalog.json_object_agg(c.name, in_row operator(pg_catalog.->) c.name)
    end
      from pg_catalog.unnest(in_columns) as c (name)
$$;

revoke all on function flagent_cdc.key_of(json, text[]) from public;
