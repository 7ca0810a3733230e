-- attach: captures Flagent's tables in one schema, and logs their present rows.
--
-- Answers:   'unchanged' when all is in place (nothing is locked or written), 'pending' when tables are missing (the
--            request is kept in flagent_cdc.attachment), 'attached' otherwise.
-- Locks:     the seven tables in SHARE ROW EXCLUSIVE: readers pass, writers wait. Call it in a transaction of its own,
--            with a short lock_timeout, and try again when it fails, so that no queue of writers forms behind it.
-- Logs:      per table a truncate and an insert per present row, in one commit: a running listener gets the content
--            at an exact position, and unchanged content nets to nothing.
create or replace function flagent_cdc.attach(in_schema text) returns text
    language plpgsql
    -- One image, as the capture functions make it.
    set timezone = 'UTC'
    set datestyle = 'ISO, MDY'
    set intervalstyle = 'postgres'
    set bytea_output = 'hex'
    set extra_float_digits = 1
    set lc_monetary = 'C'
    set quote_all_identifiers = off
    set standard_conforming_strings = on
    set row_security = off
    as $$
declare
    tables     text[] := flagent_cdc.flagent_tables();
    table_name text;
    watched    text;
    role_name  text;
    missing    integer;
    unwatched  integer;
begin
    if pg_catalog.current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'active_sql_transaction',
            message = 'flagent_cdc.attach() must run in READ COMMITTED: it has to see what was committed before its locks';
    end if;

    for attempt in 1 .. 2 loop
        select pg_catalog.count(*) filter (where c.oid is null),
               pg_catalog.count(*) filter (where c.oid is not null and not flagent_cdc.has_triggers(c.oid))
          into missing, unwatched
          from pg_catalog.unnest(tables) as wanted (name)
          left join pg_catalog.pg_namespace n on n.nspname = in_schema
          left join pg_catalog.pg_class c
            on c.relnamespace = n.oid and c.relname = wanted.name and c.relkind in ('r', 'p');
        if missing > 0 then
            insert into flagent_cdc.attachment as a (schema_name, attached_at)
            values (in_schema, null)
            on conflict (schema_name) do update set attached_at = null where a.attached_at is not null;
            return 'pending';
        end if;
        if unwatched = 0 and exists (
            select from flagent_cdc.attachment a where a.schema_name = in_schema and a.attached_at is not null
        ) then
            return 'unchanged';
        end if;
        if attempt = 1 then
            -- Another process may have attached while this one waited: hence the second look.
            select pg_catalog.string_agg(pg_catalog.format('%I.%I', in_schema, t.name), ', ') into watched
              from pg_catalog.unnest(tables) as t (name);
            execute 'lock table ' || watched || ' in share row exclusive mode';
        end if;
    end loop;

    foreach table_name in array tables loop
        watched := pg_catalog.format('%I.%I', in_schema, table_name);
        -- A table of this name may have been watched before Flagent created its own.
        perform flagent_cdc.unwatch(watched);
        continue when flagent_cdc.has_triggers(watched::regclass);
        execute pg_catalog.format($ddl$
            drop trigger if exists flagent_cdc_100_capture on %1$s;
            drop trigger if exists flagent_cdc_110_capture on %1$s;
            drop trigger if exists flagent_cdc_120_capture on %1$s;
            drop trigger if exists flagent_cdc_130_capture on %1$s;
            create trigger flagent_cdc_100_capture after insert or delete on %1$s
                for each row execute function flagent_cdc.capture();
            -- Exactly one of these two logs an update, whatever enables or disables them.
            create trigger flagent_cdc_110_capture after update on %1$s
                referencing old table as old_rows new table as new_rows
                for each statement
                when (pg_catalog.pg_trigger_depth() = 0 and pg_catalog.current_setting('session_replication_role') <> 'replica')
                execute function flagent_cdc.capture_update();
            create trigger flagent_cdc_120_capture after update on %1$s
                for each row
                when (pg_catalog.pg_trigger_depth() > 0 or pg_catalog.current_setting('session_replication_role') = 'replica')
                execute function flagent_cdc.capture();
            create trigger flagent_cdc_130_capture before truncate on %1$s
                for each statement execute function flagent_cdc.capture_truncate('rows');
            alter table %1$s enable always trigger flagent_cdc_100_capture;
            alter table %1$s enable always trigger flagent_cdc_110_capture;
            alter table %1$s enable always trigger flagent_cdc_120_capture;
            alter table %1$s enable always trigger flagent_cdc_130_capture;
        $ddl$, watched);
    end loop;

    foreach table_name in array tables loop
        perform flagent_cdc.log_change(in_schema, table_name, 'truncate', null, null, null);
        execute pg_catalog.format(
            'select pg_catalog.count(flagent_cdc.log_change(%L, %L, ''insert'', null, null, %s)) from %I.%I flagent_cdc_row',
            in_schema, table_name,
            flagent_cdc.row_expression(pg_catalog.format('%I.%I', in_schema, table_name)::regclass), in_schema, table_name
        );
    end loop;

    insert into flagent_cdc.attachment (schema_name, attached_at)
    values (in_schema, pg_catalog.now())
    on conflict (schema_name) do update set attached_at = excluded.attached_at;
    -- Roles that were dropped or renamed since, or are missing in a restored database, get nothing.
    for role_name in
        select r.role_name from flagent_cdc.runtime_role r join pg_catalog.pg_roles p on p.rolname = r.role_name
         order by r.role_name
    loop
        perform flagent_cdc.grant_reading(role_name, in_schema);
    end loop;
    return 'attached';
end
$$;

revoke all on function flagent_cdc.attach(text) from public;
