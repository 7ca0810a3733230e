-- capture_update: logs the rows that a statement has updated, except those whose stored image did not change.
--
-- Fires:     after an update by a statement of the client, for each statement, with the transition tables old_rows and
--            new_rows. For each row capture() does the same: for updates that a trigger makes, whose order among the changes
--            of a row the places of the row's versions show, and where session_replication_role is replica, because the
--            process that applies a logical replication fires no statement triggers.
-- Costs:     about two thirds of what a row trigger costs for a bulk change.
-- May raise: nothing of its own, like capture().
--
-- Both transition tables hold the rows in the order in which they were updated: numbering pairs them without a key.
create or replace function flagent_cdc.capture_update() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    -- One image, whatever the writer's session has set.
    set timezone = 'UTC'
    set datestyle = 'ISO, MDY'
    set intervalstyle = 'postgres'
    set bytea_output = 'hex'
    set extra_float_digits = 1
    set lc_monetary = 'C'
    set quote_all_identifiers = off
    -- The plans are kept for the session. Made for few rows, the join would be a nested loop, and never end for a million;
    -- made for a million, it would be compiled each time, also for two.
    set enable_nestloop = off
    set jit = off
    as $$
declare
    before_row json;
    after_row  json;
    is_changed boolean;
    has_more   boolean;
    first_logged bigint := 1;
    open       text[];
    place      tid;
    last_id    integer;
    places     text;
    ignored    text;
begin
    -- One row, and the transaction's first change, which is what a program that saves a flag does: log_change() in one
    -- statement. Without a setting there is no group to join; only log_change() reads what it says. Without a row, the
    -- transaction stays without an id.
    if (current_setting('flagent_cdc.open', true) <> '') is not true then
        insert into flagent_cdc.change_log_first as f
            (transaction_group, id, schema_name, table_name, op, before, after, relation, depth)
        select flagent_cdc.own_group(0), 1, tg_table_schema::text, tg_table_name::text, 'update'::text,
               (select to_json(b) from old_rows b limit 1), (select to_json(a) from new_rows a limit 1), tg_relid, 1
         -- In any order: hence the limits.
         where not exists (select from new_rows offset 1)
           and (select b from old_rows b limit 1) *<> (select a from new_rows a limit 1)
           -- as is_plain(), where no column has a type of users
           and not exists (
               select
                 from pg_attribute a
                where a.attrelid = tg_relid and (a.atttypid >= 16384 or a.attgenerated = 'v')
           )
            on conflict do nothing
        returning set_config(
            'flagent_cdc.open', concat(f.transaction_group, '/', f.transaction_group, '/', f.ctid, '/f/1/f'), true
        ) into ignored;
        if found then
            return null;
        end if;
    end if;

    if not flagent_cdc.is_plain(tg_relid) then
        execute format(
            'select count(flagent_cdc.log_change(%1$L, %2$L, ''update'', null, b.image, a.image, %3$L))'
            ' from (select row_number() over () as number, %4$s as image from old_rows flagent_cdc_row) b'
            ' join (select row_number() over () as number, %4$s as image from new_rows flagent_cdc_row) a'
            ' on a.number = b.number where b.image::text <> a.image::text',
            tg_table_schema, tg_table_name, tg_relid, flagent_cdc.row_expression(tg_relid)
        ) into ignored;
        return null;
    end if;

    select (select to_json(b) from old_rows b limit 1), (select to_json(a) from new_rows a limit 1),
           (select b from old_rows b limit 1) *<> (select a from new_rows a limit 1),
           exists (select from new_rows offset 1)
      into before_row, after_row, is_changed, has_more;
    if is_changed then
        ignored := flagent_cdc.log_change(tg_table_schema, tg_table_name, 'update', null, before_row, after_row, tg_relid);
    end if;
    if has_more is not true then
        return null;
    end if;

    if not is_changed then
        select a.number, to_json(b.image), to_json(a.image) into first_logged, before_row, after_row
          from (select row_number() over () as number, old_rows as image from old_rows) b
          join (select row_number() over () as number, new_rows as image from new_rows) a on a.number = b.number
         where b.image *<> a.image
         order by a.number
         limit 1;
        is_changed := found;
        if is_changed then
            ignored := flagent_cdc.log_change(
                tg_table_schema, tg_table_name, 'update', null, before_row, after_row, tg_relid
            );
        end if;
    end if;
    if is_changed then
        -- Just written by log_change(): no writer had a chance to set it.
        open := string_to_array(current_setting('flagent_cdc.open'), '/');
        with inserted as (
            insert into flagent_cdc.change_log as n
                (transaction_group, id, schema_name, table_name, op, before, after, relation, depth, has_nested)
            select open[2]::bigint, open[5]::integer + row_number() over (), tg_table_schema::text, tg_table_name::text,
                   'update'::text, to_json(b.image), to_json(a.image), tg_relid, 1, open[6]::boolean
              from (select row_number() over () as number, old_rows as image from old_rows) b
              join (select row_number() over () as number, new_rows as image from new_rows) a on a.number = b.number
             where a.number > first_logged
               and b.image *<> a.image
            returning n.id, n.ctid
        )
        select i.ctid, i.id,
               case when current_setting('transaction_isolation') = 'serializable' then
                   (select string_agg(n.ctid::text, ' ' order by n.id) from inserted n)
               end
          into place, last_id, places
          from inserted i
         order by i.id desc
         limit 1;
        if places is not null then
            ignored := flagent_cdc.note_places(
                'flagent_cdc.places_0',
                case open[4] when 'f' then open[3] else current_setting('flagent_cdc.places_0', true) end, places
            );
        end if;
        if place is not null then
            ignored := set_config('flagent_cdc.open', concat(open[1], '/', open[2], '/', place, '/n/', last_id, '/', open[6]), true);
        end if;
    end if;
    return null;
end
$$;

revoke all on function flagent_cdc.capture_update() from public;
