-- watch_options: what a row of watched_table holds for a table that is to be watched in this way; its id is
-- still open, and the number of a stream that is yet to be made.
--
-- May raise: undefined_column or invalid_parameter_value, with a sentence.
create or replace function flagent_cdc.watch_options(
    in_table oid, in_key text[], in_include text[], in_exclude text[], in_mask text[], in_predicate text,
    in_operations text[], in_stream text, in_mode text
) returns flagent_cdc.watched_table
    language plpgsql
    stable
    as $$
declare
    operations constant text[] := '{insert,update,delete,truncate}';
    wanted     flagent_cdc.watched_table;
    named      text;
    columns    text[];
    open       text[];
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
         where a.attrelid = in_table and a.attnum > 0 and not a.attisdropped
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
            );
    elsif in_include is not null and in_exclude is not null then
        raise exception using
            errcode = 'invalid_parameter_value', message = 'name the columns to include or those to exclude, not both';
    end if;
    open := array(
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
             where c.name = any (open || wanted.masked_columns)
             order by c.number
        );
    end if;

    select pg_catalog.string_agg(k.name, ', ' order by k.number) into wrong
      from pg_catalog.unnest(in_key) with ordinality as k (name, number)
     where k.name <> all (open);
    if wrong is not null then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = pg_catalog.format('the key cannot have the column %s, which is not told', wrong);
    end if;
    wanted.key_columns := coalesce(in_key, flagent_cdc.default_key(in_table, open));

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
    wrong := flagent_cdc.wrong_with_predicate(in_table, wanted.predicate);
    if wrong is not null then
        raise exception using errcode = 'invalid_parameter_value', message = pg_catalog.format('%s: %s', named, wrong);
    end if;
    if coalesce(in_stream, '') !~ '^[a-z0-9][a-z0-9_-]{0,62}$' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = pg_catalog.format(
                'the stream must be named with small letters, digits, _ and -, at most 63, not %L', in_stream
            );
    end if;
    wanted.stream := in_stream;
    wanted.mode := coalesce(in_mode, (select s.mode from flagent_cdc.stream s where s.name = in_stream), 'notify');
    if wanted.mode not in ('notify', 'horizon') then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = pg_catalog.format('the mode must be notify or horizon, not %L', in_mode);
    elsif in_stream = 'flags' and wanted.mode <> 'notify' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'the stream of the flags has the mode notify: name a stream of its own for another one';
    end if;

    -- As log_watched() describes them; one higher here, for arguments count from 0.
    wanted.options := array[
        null, wanted.key_columns::text, coalesce(wanted.predicate, ''), in_table::text,
        case when wanted.included_columns is null then '' else open::text end,
        array(
            select a.attnum
              from pg_catalog.unnest(open) with ordinality as o (name, number)
              join pg_catalog.pg_attribute a on a.attrelid = in_table and a.attname = o.name::name
             order by o.number
        )::text,
        wanted.masked_columns::text, case when wanted.included_columns is null then '' else columns::text end,
        case when in_stream = 'flags' then '0' else (
            select s.id::text from flagent_cdc.stream s where s.name = in_stream and s.mode = wanted.mode
        ) end,
        wanted.mode
    ];
    return wanted;
end
$$;

revoke all on function flagent_cdc.watch_options(
    oid, text[], text[], text[], text[], text, text[], text, text
) from public;
