-- capture: logs the row that was inserted, updated or deleted.
--
-- Fires:     after insert or delete, for each row of a captured table; after an update made by a trigger, or where
--            session_replication_role is replica (see capture_update()).
-- Arguments: the names of the key's columns, for tables whose key the readers do not know; none for Flagent's tables.
-- May raise: nothing of its own. A row whose JSON exceeds PostgreSQL's limit of 1 GB cannot be logged and fails the
--            write, as it would fail to_json anywhere.
--
-- Runs with its owner's rights: writers need none on flagent_cdc. It runs no code of the table's owner: see is_plain().
--
-- An update that changes nothing is skipped in here: a WHEN clause that names the row would keep Flagent from altering the
-- type of its columns.
create or replace function flagent_cdc.capture() returns trigger
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
    as $$
declare
    before_row json;
    after_row  json;
    key        json;
    is_own     boolean;
    plain      boolean;
    ignored    text;
begin
    if tg_op = 'UPDATE' and old *= new then
        if pg_trigger_depth() > 1 then
            ignored := flagent_cdc.log_unlogged_version(tg_relid, old.ctid, new.ctid);
        end if;
        return null;
    elsif current_setting('session_replication_role') = 'replica' and flagent_cdc.is_applied_log() then
        return null;
    end if;
    -- The transaction's first change, by a statement of the client: log_change() and is_plain() in one statement, as in
    -- capture_update().
    if (current_setting('flagent_cdc.open', true) <> '') is not true and tg_nargs = 0 and pg_trigger_depth() = 1 then
        insert into flagent_cdc.change_log_first as f
            (transaction_group, id, schema_name, table_name, op, before, after, relation, old_place, new_place, depth)
        select flagent_cdc.own_group(0), 1, tg_table_schema::text, tg_table_name::text, lower(tg_op),
               case when tg_op <> 'INSERT' then to_json(old) end, case when tg_op <> 'DELETE' then to_json(new) end, tg_relid,
               old.ctid, new.ctid, 1
         where not exists (
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
    plain := flagent_cdc.is_plain(tg_relid);
    if tg_op <> 'INSERT' then
        before_row := case when plain then to_json(old) else flagent_cdc.row_json(old, tg_relid) end;
        if pg_trigger_depth() > 1 then
            is_own := flagent_cdc.is_own_version(age(old.xmin));
        end if;
    end if;
    if tg_op <> 'DELETE' then
        after_row := case when plain then to_json(new) else flagent_cdc.row_json(new, tg_relid) end;
    end if;
    if tg_nargs > 0 and tg_op <> 'DELETE' then
        key := flagent_cdc.key_of(after_row, tg_argv, new, tg_relid);
    elsif tg_nargs > 0 then
        key := flagent_cdc.key_of(before_row, tg_argv, old, tg_relid);
    end if;
    ignored := flagent_cdc.log_change(
        tg_table_schema, tg_table_name, lower(tg_op), key, before_row, after_row, tg_relid, old.ctid, new.ctid, is_own
    );
    return null;
end
$$;

revoke all on function flagent_cdc.capture() from public;
