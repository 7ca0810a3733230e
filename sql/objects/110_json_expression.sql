-- json_expression: SQL text that renders a value as to_json() does, without running a cast of its type's owner: a value of a
-- type with such a cast is rendered by the output function of the type.
create or replace function flagent_cdc.json_expression(
    in_value text, in_type oid, in_depth integer default 0
) returns text
    language plpgsql
    stable
    as $$
declare
    made  record;
    parts text;
begin
    if not flagent_cdc.calls_cast(in_type) then
        return pg_catalog.format('pg_catalog.to_json(%s)', in_value);
    end if;
    select t.typtype, t.typcategory, t.typelem, t.typbasetype, t.typrelid into made
      from pg_catalog.pg_type t
     where t.oid = in_type;
    if made.typtype = 'd' then
        return flagent_cdc.json_expression(
            pg_catalog.format('((%s)::%s)', in_value, made.typbasetype::regtype), made.typbasetype, in_depth
        );
    elsif made.typtype = 'c' then
        select pg_catalog.string_agg(
                   pg_catalog.format(
                       '%s as %I',
                       flagent_cdc.json_expression(
                           pg_catalog.format('(%s).%I', in_value, f.attname), f.atttypid, in_depth
                       ), f.attname
                   ),
                   ', ' order by f.attnum
               )
          into parts
          from pg_catalog.pg_attribute f
         where f.attrelid = made.typrelid and f.attnum > 0 and not f.attisdropped;
        return pg_catalog.format(
            'case when pg_catalog.num_nulls(%s) = 0 then (select pg_catalog.to_json(flagent_cdc_part.*)'
            ' from (select %s) flagent_cdc_part) end', in_value, parts
        );
    elsif made.typcategory = 'A' and made.typelem <> 0 then
        -- Of more dimensions than one, as the array's own text.
        return pg_catalog.format(
            'case when pg_catalog.array_ndims(%1$s) > 1 then pg_catalog.to_json(pg_catalog.format(''%%s'', %1$s))'
            ' when %1$s is not null then (select coalesce(pg_catalog.json_agg(%2$s order by %3$s.n), ''[]'')'
            ' from pg_catalog.generate_subscripts(%1$s, 1) as %3$s (n)) end',
            in_value,
            flagent_cdc.json_expression(
                pg_catalog.format('(%s)[%s.n]', in_value, 'flagent_cdc_item_' || in_depth), made.typelem, in_depth + 1
            ),
            'flagent_cdc_item_' || in_depth
        );
    end if;
    return pg_catalog.format(
        'case when %1$s is not null then pg_catalog.to_json(pg_catalog.format(''%%s'', %1$s)) end', in_value
    );
end
$$;

revoke all on function flagent_cdc.json_expression(text, oid, integer) from public;
