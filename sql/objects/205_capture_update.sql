-- capture_update: logs the rows that a statement has updated; those whose stored image did not change are passed over.
--
-- Fires:     after update, for each statement, with the transition tables old_rows and new_rows. The process that
--            applies a logical replication fires no statement triggers; for it, and wherever session_replication_role
--            is replica, capture() does the same for each row.
-- Arguments: the names of the key's columns, as for capture().
-- Costs:     about 35 µs for the first row of a transaction, 7 µs for each row of a bulk change. A row trigger took
--            11 µs: a 10 000-row update then needed 2.9 times its untriggered processor time, 2.3 times like this.
-- May raise: nothing of its own, like capture().
--
-- Both transition tables hold the rows in the order in which they were updated: numbering pairs them without a key. Where
-- there is only one there is nothing to pair, which saves 8 of the 83 µs that such an update costs until it is sealed.
create or replace function flagent_cdc.capture_update() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    -- The plan is kept for the session. Made for one row it would be a nested loop, and never end for a million.
    set enable_nestloop = off
    as $$
declare
    most_changes constant integer := 64; -- more are not announced, see seal()
    before_row json;
    after_row  json;
    pair       record;
    in_batch   bigint;
    count      integer;
    more       integer;
    ignored    text;
begin
    if not exists (select from new_rows offset 1) then
        select to_json(b), to_json(a) into before_row, after_row
          from old_rows b
          join new_rows a on b *<> a;
        if found then
            count := flagent_cdc.log_change(
                tg_table_schema, tg_table_name, 'update',
                case when tg_nargs > 0 then flagent_cdc.key_of(after_row, tg_argv) end, before_row, after_row
            );
        end if;
        return null;
    end if;

    for pair in
        select a.number, to_json(b.image) as before_row, to_json(a.image) as after_row
          from (select row_number() over () as number, old_rows as image from old_rows) b
          join (select row_number() over () as number, new_rows as image from new_rows) a on a.number = b.number
         where b.image *<> a.image
         order by a.number
    loop
        count := flagent_cdc.log_change(
            tg_table_schema, tg_table_name, 'update',
            case when tg_nargs > 0 then flagent_cdc.key_of(pair.after_row, tg_argv) end, pair.before_row, pair.after_row
        );
        continue when count <= most_changes;

        -- Too much for a notification: the rest goes into the log with one statement.
        in_batch := current_setting('flagent_cdc.batch');
        insert into flagent_cdc.change_log (batch, id, schema_name, table_name, op, key, before, after)
        select in_batch, count + row_number() over (),
               tg_table_schema, tg_table_name, 'update',
               case when tg_nargs > 0 then flagent_cdc.key_of(to_json(a.image), tg_argv) end,
               to_json(b.image), to_json(a.image)
          from (select row_number() over () as number, old_rows as image from old_rows) b
          join (select row_number() over () as number, new_rows as image from new_rows) a on a.number = b.number
         where a.number > pair.number
           and b.image *<> a.image;
        get diagnostics more = row_count;
        ignored := set_config('flagent_cdc.count', (count + more)::text, true);
        exit;
    end loop;
    return null;
end
$$;

revoke all on function flagent_cdc.capture_update() from public;
