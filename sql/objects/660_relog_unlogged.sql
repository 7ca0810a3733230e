-- relog_unlogged: logs the content of captured unlogged tables again where it is not known to be what the log says.
--
-- A crash of the server empties unlogged tables, and no trigger fires. It empties unlogged_content too, which lists the
-- relations whose content agrees with the log: a captured unlogged relation that is not listed was emptied, or has become
-- unlogged, or became a partition since the last call. Its table gets a truncate and an insert per present row, in one commit.
--
-- Called by: the server, within each minute and when it has connected.
-- Answers:   the tables whose content was logged again. A table that is in use is left to the next call.
-- Locks:     such a table in SHARE ROW EXCLUSIVE, for which it waits 100 ms at most: readers pass, writers wait.
--
-- Runs with its owner's rights: the server needs none on the tables.
create or replace function flagent_cdc.relog_unlogged() returns text[]
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '100ms'
    as $$
declare
    logged text[] := '{}';
    found  record;
begin
    delete from flagent_cdc.unlogged_content u
     where not exists (select from pg_class c where c.oid = u.relation and c.relpersistence = 'u');
    for found in
        select w.id, w.options, c.oid as relation, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname) as name
          from flagent_cdc.watched_table w
          join pg_class c on c.oid = flagent_cdc.watched_relation(w.id)
          join pg_namespace n on n.oid = c.relnamespace
         where exists (select from flagent_cdc.unlisted_parts(c.oid))
         order by c.oid
    loop
        begin
            execute 'lock table ' || found.name || ' in share row exclusive mode';
            -- Another server may have done it meanwhile.
            if exists (select from flagent_cdc.unlisted_parts(found.relation)) then
                perform flagent_cdc.log_watched_change(
                    found.options, found.nspname, found.relname, 'truncate', null, null, null
                );
                perform flagent_cdc.log_watched_change(
                            found.options, found.nspname, found.relname, 'insert', r.key, null, r.row_image
                        )
                   from flagent_cdc.parts_of(found.relation) p (oid)
                  cross join flagent_cdc.backfill_rows(
                            found.id, p.oid, 0, pg_relation_size(p.oid) / current_setting('block_size')::bigint + 1
                        ) r;
                insert into flagent_cdc.unlogged_content (relation)
                select u.oid from flagent_cdc.unlisted_parts(found.relation) u (oid);
                logged := logged || found.name;
            end if;
        exception
            when lock_not_available or undefined_table then null;
        end;
    end loop;

    for found in
        select a.schema_name
          from flagent_cdc.attachment a
          join pg_namespace n on n.nspname = a.schema_name
         where a.attached_at is not null
           and exists (
               select from pg_class c, flagent_cdc.unlisted_parts(c.oid)
                where c.relnamespace = n.oid and c.relname = any (flagent_cdc.flagent_tables()) and c.relkind in ('r', 'p')
           )
         order by a.schema_name
    loop
        begin
            -- attach() logs the content of a schema that is not attached yet.
            update flagent_cdc.attachment a set attached_at = null where a.schema_name = found.schema_name;
            if flagent_cdc.attach(found.schema_name) = 'attached' then
                insert into flagent_cdc.unlogged_content (relation)
                select u.oid
                  from pg_namespace n
                  join pg_class c
                    on c.relnamespace = n.oid and c.relname = any (flagent_cdc.flagent_tables()) and c.relkind in ('r', 'p')
                 cross join flagent_cdc.unlisted_parts(c.oid) u (oid)
                 where n.nspname = found.schema_name;
                logged := logged || format('%I', found.schema_name);
            end if;
        exception
            when lock_not_available then null;
        end;
    end loop;
    return logged;
end
$$;

revoke all on function flagent_cdc.relog_unlogged() from public;
