-- capture_update: logs the rows that a statement has updated, except those whose stored image did not change.
--
-- Fires:     after update, for each statement, with the transition tables old_rows and new_rows. The process that
--            applies a logical replication fires no statement triggers; for it, and wherever session_replication_role
--            is replica, capture() does the same for each row.
-- Costs:     about 21 µs for the only row of a transaction, 7 µs for each row of a bulk change. A row trigger took
--            11 µs: a 10 000-row update then needed 2.9 times its untriggered processor time.
-- May raise: nothing of its own, like capture().
--
-- Both transition tables hold the rows in the order in which they were updated: numbering pairs them without a key.
create or replace function flagent_cdc.capture_update() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    before_row json;
    after_row  json;
    is_changed boolean;
    has_more   boolean;
    first_logged bigint := 1;
    count      integer;
    open       text;
    more       integer;
    nestloop   text;
    jit        text;
    ignored    text;
begin
    -- One row, and the transaction's first change, which is what a program that saves a flag does: log_change() in one
    -- statement. Without a setting there is no group to join; only log_change() reads what it says. The LIMIT
    -- keeps the plan cheap in the planner's eyes where it is made for many rows: not worth compiling.
    if (current_setting('flagent_cdc.open', true) <> '') is not true then
        insert into flagent_cdc.change_log_first as f
            (transaction_group, id, schema_name, table_name, op, key, before, after)
        select nextval('flagent_cdc.transaction_group'), 1, tg_table_schema::text, tg_table_name::text, 'update'::text,
               null::json, to_json(b), to_json(a)
          from old_rows b
         cross join new_rows a
         where not exists (select from new_rows offset 1)
           and b *<> a
         limit 1
        returning set_config(
            'flagent_cdc.open',
            concat(
                pg_current_xact_id(), '/', setval('flagent_cdc.last_change_number', f.transaction_group), '/', f.ctid, '/1'
            ),
            true
        ) into ignored;
        if found then
            return null;
        end if;
    end if;

    select to_json(b), to_json(a), b *<> a, exists (select from new_rows offset 1)
      into before_row, after_row, is_changed, has_more
      from old_rows b
     cross join new_rows a
     limit 1;
    if is_changed then
        count := flagent_cdc.log_change(tg_table_schema, tg_table_name, 'update', null, before_row, after_row);
    end if;
    if has_more is not true then
        return null;
    end if;

    -- The plans of what follows are kept for the session. Made for few rows, the join would be a nested loop, and never end
    -- for a million; made for a million, it would be compiled each time, also for two.
    nestloop := current_setting('enable_nestloop');
    jit := current_setting('jit');
    ignored := set_config('enable_nestloop', 'off', true) || set_config('jit', 'off', true);
    if not is_changed then
        select a.number, to_json(b.image), to_json(a.image) into first_logged, before_row, after_row
          from (select row_number() over () as number, old_rows as image from old_rows) b
          join (select row_number() over () as number, new_rows as image from new_rows) a on a.number = b.number
         where b.image *<> a.image
         order by a.number
         limit 1;
        if found then
            count := flagent_cdc.log_change(tg_table_schema, tg_table_name, 'update', null, before_row, after_row);
        end if;
    end if;
    if count is not null then
        -- Just written by log_change(): no writer had a chance to set it.
        open := current_setting('flagent_cdc.open');
        insert into flagent_cdc.change_log (transaction_group, id, schema_name, table_name, op, key, before, after)
        select split_part(open, '/', 2)::bigint, count + row_number() over (),
               tg_table_schema::text, tg_table_name::text, 'update'::text,
               null::json, to_json(b.image), to_json(a.image)
          from (select row_number() over () as number, old_rows as image from old_rows) b
          join (select row_number() over () as number, new_rows as image from new_rows) a on a.number = b.number
         where a.number > first_logged
           and b.image *<> a.image;
        get diagnostics more = row_count;
        if more > 0 then
            ignored := setval('flagent_cdc.last_change_number', -(count + more))
                || set_config('flagent_cdc.open', regexp_replace(open, '\d+$', (count + more)::text), true);
        end if;
    end if;
    ignored := set_config('enable_nestloop', nestloop, true) || set_config('jit', jit, true);
    return null;
end
$$;

revoke all on function flagent_cdc.capture_update() from public;
