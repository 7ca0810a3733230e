-- watch_options: the row of watched_table for a table that is to be watched with these options; the numbers of the row and
-- of a lane that does not exist yet are null.
--
-- May raise: undefined_column or invalid_parameter_value, with a sentence.
create or replace function flagent_cdc.watch_options(
    in_table oid, in_key text[], in_include text[], in_exclude text[], in_mask text[], in_predicate text,
    in_operations text[], in_lane text, in_order text
) returns flagent_cdc.watched_table
    language plpgsql
    stable
    as $$
declare
    operations constant text[] := '{insert,update,delete,truncate}';
    wanted     flagent_cdc.watched_table;
    named      text;
    columns    text[];
    visible    text[];
    wrong      text;
begin
    select n.nspname, c.relname into wanted.schema_name, wanted.table_name
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = in_table;
    named := pg_catalog.format('%I.%I', wanted.schema_name, wanted.table_name);
    columns := array(
        select a.attname::text
          from pg_catalog.pg_attribute a
         where a.attrelid = in_table and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
         order by a.attnum
    );

    select pg_catalog.string_agg(coalesce(w.name, 'null'), ', ' order by w.number) into wrong
      from pg_catalog.unnest(in_key || in_include || in_exclude || in_mask) with ordinality as w (name, number)
     where w.name is null or w.name <> all (columns);
    if wrong is not null then
        raise exception using
            errcode = 'undefined_column',
            message = pg_catalog.format(
                '%s has no column %s; it has %s', named, wrong, pg_catalog.array_to_string(columns, ', ')
            ) || coalesce(
                (
                    select '; virtual generated columns are not captured: '
                        || pg_catalog.string_agg(a.attname::text, ', ' order by a.attnum)
                      from pg_catalog.pg_attribute a
                     where a.attrelid = in_table and a.attgenerated = 'v' and not a.attisdropped
                ), ''
            );
    elsif in_include is not null and in_exclude is not null then
        raise exception using
            errcode = 'invalid_parameter_value', message = 'name the columns to include or those to exclude, not both';
    end if;
    visible := array(
        select c.name
          from pg_catalog.unnest(columns) with ordinality as c (name, number)
         where (in_include is null or c.name = any (in_include))
           and c.name <> all (coalesce(in_exclude, '{}') || in_mask)
         order by c.number
    );
    wanted.masked_columns := array(
        select c.name
          from pg_catalog.unnest(columns) with ordinality as c (name, number)
         where c.name = any (in_mask) and c.name <> all (coalesce(in_exclude, '{}'))
         order by c.number
    );
    if in_include is not null or in_exclude is not null or wanted.masked_columns <> '{}' then
        wanted.included_columns := array(
            select c.name
              from pg_catalog.unnest(columns) with ordinality as c (name, number)
             where c.name = any (visible || wanted.masked_columns)
             order by c.number
        );
    end if;

    select pg_catalog.string_agg(k.name, ', ' order by k.number) into wrong
      from pg_catalog.unnest(in_key) with ordinality as k (name, number)
     where k.name <> all (visible);
    if wrong is not null then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = pg_catalog.format('the key cannot have the column %s, which is not visible', wrong);
    end if;
    wanted.key_columns := coalesce(in_key, flagent_cdc.default_key(in_table, visible));

    select pg_catalog.string_agg(coalesce(o.name, 'null'), ', ' order by o.number) into wrong
      from pg_catalog.unnest(in_operations) with ordinality as o (name, number)
     where o.name is null or o.name <> all (operations);
    if wrong is not null or coalesce(in_operations, '{}') = '{}' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = pg_catalog.format(
                'operations must be some of %s', pg_catalog.array_to_string(operations, ', ')
            ) || coalesce('; there is no ' || wrong, '');
    end if;
    wanted.operations := array(
        select o.name
          from pg_catalog.unnest(operations) with ordinality as o (name, number)
         where o.name = any (in_operations)
         order by o.number
    );

    wanted.predicate := nullif(pg_catalog.btrim(in_predicate), '');
    wrong := flagent_cdc.compile_error(in_table, wanted.predicate);
    if wrong is not null then
        raise exception using errcode = 'invalid_parameter_value', message = pg_catalog.format('%s: %s', named, wrong);
    end if;
    if coalesce(in_lane, '') !~ '^[a-z0-9][a-z0-9_-]{0,62}$' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = pg_catalog.format(
                'a lane name has at most 63 characters: small letters, digits, _ and -, not %L', in_lane
            );
    end if;
    wanted.lane := in_lane;
    wanted.lane_order := coalesce(
        in_order, (select l.lane_order from flagent_cdc.lane l where l.name = in_lane), 'commit'
    );
    if wanted.lane_order not in ('commit', 'read') then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = pg_catalog.format('the order must be commit or read, not %L', in_order);
    elsif in_lane = 'flags' and wanted.lane_order <> 'commit' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'the flags'' lane is ordered at commit: name another lane for one that is ordered when read';
    end if;

    wanted.options.lane := case
        when in_lane = 'flags' then 0
        else (select l.id from flagent_cdc.lane l where l.name = in_lane and l.lane_order = wanted.lane_order)
    end;
    wanted.options.lane_order := wanted.lane_order;
    wanted.options.relation := in_table;
    wanted.options.key_columns := wanted.key_columns;
    wanted.options.predicate := wanted.predicate;
    if wanted.included_columns is not null then
        wanted.options.visible_columns := visible;
        wanted.options.visible_numbers := array(
            select a.attnum
              from pg_catalog.unnest(visible) with ordinality as v (name, number)
              join pg_catalog.pg_attribute a on a.attrelid = in_table and a.attname = v.name::name
             order by v.number
        );
        wanted.options.masked_columns := wanted.masked_columns;
        wanted.options.known_columns := columns;
    end if;
    return wanted;
end
$$;

revoke all on function flagent_cdc.watch_options(
    oid, text[], text[], text[], text[], text, text[], text, text
) from public;
