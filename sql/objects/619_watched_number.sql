-- watched_number: the id of the row of watched_table that a table's triggers carry; null where it is not watched.
create or replace function flagent_cdc.watched_number(in_table oid) returns integer
    language sql
    stable
    as $$
    -- the text form of capture_options, which begins with its id
    select pg_catalog.substring(pg_catalog.encode(t.tgargs, 'escape'), '^[(]([0-9]+),')::integer
      from pg_catalog.pg_trigger t
     where t.tgrelid = in_table
       and t.tgname in ('flagent_cdc_200_watch', 'flagent_cdc_210_watch', 'flagent_cdc_230_watch')
       and t.tgparentid = 0
     limit 1
$$;

revoke all on function flagent_cdc.watched_number(oid) from public;
