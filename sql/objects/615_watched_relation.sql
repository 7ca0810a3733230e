-- watched_relation: the table that has the triggers of a row of watched_table, under whatever name by now; null if none has.
create or replace function flagent_cdc.watched_relation(in_id integer) returns oid
    language sql
    stable
    as $$
    select t.tgrelid
      from pg_catalog.pg_trigger t
     where t.tgfoid in (
             'flagent_cdc.capture_watched()'::regprocedure, 'flagent_cdc.capture_watched_truncate()'::regprocedure
           )
       and t.tgname in ('flagent_cdc_200_watch', 'flagent_cdc_210_watch', 'flagent_cdc_230_watch')
       and t.tgparentid = 0
       -- the text form of capture_options, which begins with its id
       and pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), ',', 1) = '(' || in_id
     limit 1
$$;

revoke all on function flagent_cdc.watched_relation(integer) from public;
