-- open_flag_rows: opens a cursor over the given columns of one of Flagent's tables in an attached schema. Rows of one flag follow
-- each other, ordered by its id; a constraint or distribution has it as a further column, null where its segment is unknown.
--
-- Called by: the server, which loads all flags at one position in a REPEATABLE READ transaction with the time zone UTC.
-- Returns:   the cursor's name; null where a column that the rows are ordered by has an unexpected type: use flag_rows().
-- Costs:     a fourth of flag_rows(), because values of the usual types travel as they are. What to_json() renders in its own
--            way is text (times) or JSON (any other type). A column that does not exist is null.
-- May raise: undefined_table for another table, insufficient_privilege where the owner of flagent_cdc may not read it.
--
-- Runs with its owner's rights, which are checked when the cursor is opened, and no code of the tables' owner.
create or replace function flagent_cdc.open_flag_rows(in_schema text, in_table text, in_columns text[], in_cursor refcursor)
    returns refcursor
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set row_security = off
    as $$
declare
    relation constant regclass := flagent_cdc.attached_table(in_schema, in_table);
    listed   text;
    source   text;
    in_order text := 'order by flagent_cdc_row.flag_id';
begin
    if exists (
        select
          from unnest(flagent_cdc.flagent_tables()) t (name)
          join pg_attribute a on a.attrelid = to_regclass(format('%I.%I', in_schema, t.name))
         where a.attname in ('id', 'flag_id', 'segment_id')
           and (a.atttypid not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) or a.attgenerated = 'v')
    ) then
        return null;
    end if;
    select string_agg(
               case
                   when a.attname is null then 'null::text'
                   when a.atttypid in (
                       'bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'text'::regtype, 'varchar'::regtype
                   ) then format('flagent_cdc_row.%I', a.attname)
                   when a.atttypid = 'timestamp'::regtype then format('to_json(flagent_cdc_row.%I) #>> ''{}''', a.attname)
                   else flagent_cdc.json_expression(format('flagent_cdc_row.%I', a.attname), a.atttypid)
               end,
               ', ' order by c.number
           )
      into listed
      from unnest(in_columns) with ordinality as c (name, number)
      left join pg_attribute a
        on a.attrelid = relation and a.attname = c.name and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v';
    source := format('%s flagent_cdc_row', relation);
    case
        when in_table = 'flags' then
            in_order := 'order by flagent_cdc_row.id';
        when in_table = 'tags' then
            in_order := '';
        when in_table in ('constraints', 'distributions') then
            in_order := 'order by flagent_cdc_parent.flag_id nulls last';
            listed := listed || ', flagent_cdc_parent.flag_id';
            source := format(
                '%s left join %I.segments flagent_cdc_parent on flagent_cdc_parent.id = flagent_cdc_row.segment_id', source, in_schema
            );
        else
            null;
    end case;
    open in_cursor no scroll for execute format('select %s from %s %s', listed, source, in_order);
    return in_cursor;
end
$$;

revoke all on function flagent_cdc.open_flag_rows(text, text, text[], refcursor) from public;
