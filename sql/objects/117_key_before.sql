-- key_before: the key that a row had before a change, in the form of key_of(), by the names in the key that it has after.
--
-- Called by: order_group(), where a trigger may have given a key to another row. Of a row out of which no member can be taken,
--            see key_of(), it is taken for the same.
create or replace function flagent_cdc.key_before(in_before json, in_key json) returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    names constant text[] := array(select json_object_keys(in_key));
begin
    if octet_length(in_before::text) <= 8000 and strpos(in_before::text, chr(92) || 'u') = 0 then
        return flagent_cdc.key_of(in_before, names, row(), null);
    end if;
    begin
        if cardinality(names) = 1 then
            return json_build_object(names[1], in_before -> names[1]);
        end if;
        return (
            select json_object_agg(n.name, in_before -> n.name order by n.number)
              from unnest(names) with ordinality as n (name, number)
        );
    exception
        when others then return in_key;
    end;
end
$$;

revoke all on function flagent_cdc.key_before(json, json) from public;
