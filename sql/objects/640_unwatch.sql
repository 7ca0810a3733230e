-- unwatch: stops watching a table and removes every trace from it; also of one that is gone.
--
-- Answers:   'unwatched', or 'unchanged' where it is not watched.
-- Locks:     the table and its partitions exclusively, for a moment; like watch() it needs a short lock_timeout and retries.
create or replace function flagent_cdc.unwatch(table_name text) returns text
    language plpgsql
    as $$
declare
    relation oid := pg_catalog.to_regclass(unwatch.table_name);
    name     text[] := pg_catalog.parse_ident(unwatch.table_name);
    found    integer;
    put      record;
begin
    select w.id into found
      from flagent_cdc.watched_table w
     where flagent_cdc.watched_relation(w.id) = relation
        or flagent_cdc.watched_relation(w.id) is null
       and name in (array[w.schema_name, w.table_name], array[w.table_name])
     order by flagent_cdc.watched_relation(w.id) is null, w.id
     limit 1;
    if found is null then
        return 'unchanged';
    end if;
    for put in
        select t.tgname, t.tgrelid::regclass as relation
          from pg_catalog.pg_trigger t
         where t.tgfoid in (
                 'flagent_cdc.capture_watched()'::regprocedure, 'flagent_cdc.capture_watched_truncate()'::regprocedure
               )
           and t.tgparentid = 0
           and pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), ',', 1) = '(' || found
         order by t.tgrelid, t.tgname
    loop
        execute pg_catalog.format('drop trigger %I on %s', put.tgname, put.relation);
    end loop;
    delete from flagent_cdc.watched_table w where w.id = found;
    return 'unwatched';
end
$$;

revoke all on function flagent_cdc.unwatch(text) from public;
