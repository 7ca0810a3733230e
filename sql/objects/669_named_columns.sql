-- named_columns: columns as published_columns() has them, by name and type alone, as the log has them.
create or replace function flagent_cdc.named_columns(in_columns jsonb) returns json
    language sql
    immutable
    as $$
    select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', c.name, 'type', c.type) order by c.place), '[]')
      from pg_catalog.jsonb_array_elements(in_columns) with ordinality as e (element, place)
     cross join lateral (select e.element ->> 'name', e.element ->> 'type', e.place) c (name, type, place)
$$;

revoke all on function flagent_cdc.named_columns(jsonb) from public;
