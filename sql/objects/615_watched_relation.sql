-- watched_relation: the table that carries the triggers of a row of watched_table, whatever it is called by now; null
-- where none does.
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
       -- arguments end with a zero byte each
       and pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), '\000', 1) = in_id::text
     limit 1
$$;

revoke all on function flagent_cdc.watched_relation(integer) from public;
