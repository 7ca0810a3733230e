-- watch: captures every change of a table.
--
-- table_name is written as in SQL: analytics.orders, "Order Items"; without a schema it is resolved by the search path.
--   key         the columns that identify a row; by default the primary key, else the replica identity, else a unique index
--               over columns that are never null, else none, and then the whole row is the key
--   include     publish only these columns; or
--   exclude     publish all columns but these
--   mask        publish these columns as null
--   predicate   SQL about one row, such as total > 100: publish only rows that satisfy it
--   operations  some of insert, update, delete, truncate
--   lane        the lane that the table belongs to: that of the flags, or another one, which is created if it does not exist
--   lane_order  how such a lane gets its order: commit, by a lock at COMMIT, or read, by its readers, at no cost for writers;
--               by default the lane's present order, for a new one commit
--
-- Answers:   'watched', 'changed' where it was watched with other options, 'unchanged' where all is in place (nothing is
--            locked or written then).
-- Logs:      the operation schema where it was watched in the same lane with other columns, another key or predicate: readers
--            have rows that no change in the log makes what they are now.
-- Locks:     the table in SHARE ROW EXCLUSIVE, its partitions too: readers pass, writers wait. Call it in a transaction
--            of its own with a short lock_timeout, and try again when it fails, as `flagent-cdc watch` does.
-- Needs:     to own flagent_cdc and the table.
create or replace function flagent_cdc.watch(
    table_name text, key text[] default null, include text[] default null, exclude text[] default null,
    mask text[] default '{}', predicate text default null,
    operations text[] default '{insert,update,delete,truncate}', lane text default 'flags', lane_order text default null
) returns text
    language plpgsql
    as $$
declare
    relation    oid := flagent_cdc.watchable(table_name);
    known       flagent_cdc.watched_table;
    wanted      flagent_cdc.watched_table;
    is_present  boolean;
    announces   boolean;
    ignored     boolean;
begin
    if pg_catalog.current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'active_sql_transaction',
            message = 'flagent_cdc.watch() must run in READ COMMITTED: it has to see what was committed before its lock';
    end if;

    if watch.predicate is not null then
        perform flagent_cdc.prepare_predicate(relation);
    end if;
    for attempt in 1 .. 2 loop
        wanted := flagent_cdc.watch_options(
            relation, watch.key, watch.include, watch.exclude, watch.mask, watch.predicate, watch.operations,
            watch.lane, watch.lane_order
        );
        select w.* into known
          from flagent_cdc.watched_table w
         where flagent_cdc.watched_relation(w.id) = relation;
        is_present := known.id is not null;
        if not is_present then
            -- A table of this name was watched and is gone: its successor takes over the row.
            select w.* into known
              from flagent_cdc.watched_table w
             where w.schema_name = wanted.schema_name and w.table_name = wanted.table_name
               and flagent_cdc.watched_relation(w.id) is null
             order by w.id
             limit 1;
        end if;
        wanted.id := coalesce(known.id, 0);
        wanted.options.id := wanted.id;
        if is_present and known.options = wanted.options and known.operations = wanted.operations
            and known.lane = wanted.lane and known.lane_order = wanted.lane_order
            and known.schema_name = wanted.schema_name and known.table_name = wanted.table_name
            and flagent_cdc.has_watch_triggers(relation, wanted.operations)
        then
            return 'unchanged';
        end if;
        if attempt = 1 then
            -- Others may have watched or altered it while this one waited: hence the second look.
            execute pg_catalog.format(
                'lock table %I.%I in share row exclusive mode', wanted.schema_name, wanted.table_name
            );
        end if;
    end loop;

    wanted.options.lane := flagent_cdc.open_lane(wanted.lane, wanted.lane_order, wanted.id);
    if known.id is null then
        insert into flagent_cdc.watched_table (
            schema_name, table_name, key_columns, included_columns, masked_columns, operations, predicate, lane,
            lane_order, options
        )
        values (
            wanted.schema_name, wanted.table_name, wanted.key_columns, wanted.included_columns, wanted.masked_columns,
            wanted.operations, wanted.predicate, wanted.lane, wanted.lane_order, wanted.options
        )
        returning id into wanted.id;
        wanted.options.id := wanted.id;
    end if;
    -- A table that moves to another lane has other readers, and a subscription brings the publisher's log.
    announces := is_present and known.lane = wanted.lane and known.lane_order = wanted.lane_order
        and not flagent_cdc.is_applied_log();
    update flagent_cdc.watched_table w
       set schema_name = wanted.schema_name, table_name = wanted.table_name, key_columns = wanted.key_columns,
           included_columns = wanted.included_columns, masked_columns = wanted.masked_columns,
           operations = wanted.operations, predicate = wanted.predicate, lane = wanted.lane, lane_order = wanted.lane_order,
           options = wanted.options,
           columns = case when announces then w.columns else flagent_cdc.published_columns(relation, wanted.options) end
     where w.id = wanted.id;
    if announces then
        -- Before the triggers, whose creation makes log_ddl() look at the columns too.
        ignored := flagent_cdc.log_schema_change(
            wanted.id,
            (known.key_columns, known.included_columns, known.masked_columns, known.predicate)
                is distinct from
                (wanted.key_columns, wanted.included_columns, wanted.masked_columns, wanted.predicate)
        );
    end if;

    perform flagent_cdc.put_watch_triggers(relation, wanted.operations, wanted.options);
    return case when is_present then 'changed' else 'watched' end;
end
$$;

revoke all on function flagent_cdc.watch(text, text[], text[], text[], text[], text, text[], text, text) from public;
