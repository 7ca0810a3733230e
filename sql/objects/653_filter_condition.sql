-- filter_condition: SQL text for a filter of a table's rows; the row is called flagent_cdc_row, and $1 is the whole filter.
--
-- Called by: filtered_rows(), which runs with its owner's rights. So nothing of a filter becomes SQL: an operator must be one
--            of these, a column one of the table, and values stay in $1, from which the text takes them by their path.
-- Arguments: in_columns are the columns that may be read; in_path is the path of in_node in the filter.
-- May raise: undefined_column for another column, syntax_error for anything else that is not expected.
create or replace function flagent_cdc.filter_condition(
    in_table oid, in_columns text[], in_node jsonb, in_path text[] default '{}', in_type oid default null
) returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    op    constant text := in_node ->> 'op';
    args  constant jsonb := coalesce(in_node -> 'args', '[]');
    parts text[] := '{}';
    first oid := in_type;
    step  jsonb;
begin
    if op in ('column', 'field') then
        select a.atttypid into first
          from pg_attribute a
         where a.attrelid = in_table and a.attname = in_node ->> 'name' and a.attnum > 0 and not a.attisdropped
           and a.attname = any (in_columns);
        if not found then
            raise exception using errcode = 'undefined_column', message = 'a filter reads a column that is not visible';
        end if;
        parts := array[format('flagent_cdc_row.%I', in_node ->> 'name')];
        if op = 'field' then
            for step in select s.value from jsonb_array_elements(in_node -> 'path') with ordinality s (value, number) order by s.number loop
                parts := parts || case jsonb_typeof(step)
                    when 'number' then format('(%s)', (step #>> '{}')::integer)
                    else format('%L::text', step #>> '{}')
                end;
            end loop;
            parts := array[
                array_to_string(parts[:array_length(parts, 1) - 1], ' -> ') || ' ->> ' || parts[array_length(parts, 1)]
            ];
        end if;
        return format(case when (in_node ->> 'collate')::boolean then '((%s) collate "C")' else '(%s)' end, parts[1]);
    elsif op = 'value' then
        return format(
            '($1 #>> %L::text[])::%s', in_path || 'text'::text,
            case
                when in_node ->> 'type' in (
                    'boolean', 'int2', 'int4', 'int8', 'numeric', 'text', 'uuid', 'date', 'timestamp', 'timestamptz'
                ) then in_node ->> 'type'
                when (select t.typtype from pg_type t where t.oid = in_type) in ('e', 'd') then in_type::regtype::text
                else 'text'
            end
        );
    end if;
    if args -> 0 ->> 'op' = 'column' then
        select a.atttypid into first
          from pg_attribute a
         where a.attrelid = in_table and a.attname = args -> 0 ->> 'name' and a.attnum > 0 and not a.attisdropped;
    end if;
    for place in 0 .. jsonb_array_length(args) - 1 loop
        parts := parts || flagent_cdc.filter_condition(
            in_table, in_columns, args -> place, in_path || array['args', place::text], first
        );
    end loop;
    return case
        when op = 'never' then 'false'
        when op in ('and', 'or') and parts = '{}' then 'true'
        when op in ('and', 'or') then '(' || array_to_string(parts, ' ' || op || ' ') || ')'
        when op = 'not' then '(not ' || parts[1] || ')'
        when op in ('=', '<>', '<', '<=', '>', '>=') then '(' || parts[1] || ' ' || op || ' ' || parts[2] || ')'
        when op = 'in' then '(' || parts[1] || ' in (' || array_to_string(parts[2:], ', ') || '))'
        when op = 'like' then format('(%s like %s escape %L)', parts[1], parts[2], in_node ->> 'escape')
        when op in ('is null', 'is true', 'is false') then '(' || parts[1] || ' ' || op || ')'
        else null
    end;
end
$$;

revoke all on function flagent_cdc.filter_condition(oid, text[], jsonb, text[], oid) from public;
