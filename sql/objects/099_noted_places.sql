-- noted_places: the places that note_places() has kept in a setting; null where there are none, too many, or where the writer has
-- set something else.
create or replace function flagent_cdc.noted_places(in_setting text) returns tid[]
    language sql
    stable
    as $$
    select case
        when pg_catalog.current_setting('transaction_isolation') = 'serializable'
            and n.places ~ '^[(][0-9]{1,9},[0-9]{1,5}[)]( [(][0-9]{1,9},[0-9]{1,5}[)])*$'
            then pg_catalog.string_to_array(n.places, ' ')::tid[]
    end
      from pg_catalog.current_setting(in_setting, true) as n (places)
$$;

revoke all on function flagent_cdc.noted_places(text) from public;
