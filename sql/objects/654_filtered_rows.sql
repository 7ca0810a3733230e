-- filtered_rows: the rows in some blocks of a watched table, or of a partition of it, as its changes would carry them: with
-- its masked columns as null, and without hidden columns and rows. in_filter, if not null, is the condition of a subscriber,
-- which reads visible columns only.
--
-- Costs:     what is read of the blocks, no more: a range of row addresses needs no index and no sorting.
-- May raise: undefined_table where in_relation is no part of the table; what filter_condition() raises.
create or replace function flagent_cdc.filtered_rows(
    in_id integer, in_relation oid, in_from bigint, in_to bigint, in_filter jsonb
)
    returns table (key json, row_image json)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    -- One image, as the capture functions make it.
    set timezone = 'UTC'
    set datestyle = 'ISO, MDY'
    set intervalstyle = 'postgres'
    set bytea_output = 'hex'
    set extra_float_digits = 1
    set lc_monetary = 'C'
    set quote_all_identifiers = off
    set standard_conforming_strings = on
    set row_security = off -- an error is better than rows that are silently missing
    as $$
#variable_conflict use_column
declare
    root    oid := flagent_cdc.watched_relation(in_id);
    options flagent_cdc.capture_options;
    image   text := 'flagent_cdc.visible_row(%s, %L::text[], %L::text[], flagent_cdc_row.*, %L)';
    hidden  text := '';
    visible text[];
begin
    select (w.options).* into options from flagent_cdc.watched_table w where w.id = in_id;
    if not exists (select from flagent_cdc.parts_of(root) p (oid) where p.oid = in_relation) then
        raise exception using errcode = 'undefined_table', message = 'this is no part of the table';
    end if;
    image := case
        when options.visible_columns is null then flagent_cdc.row_expression(in_relation)
        else format(
            image, flagent_cdc.row_expression(in_relation), flagent_cdc.visible_columns(root, options),
            options.masked_columns, in_relation
        )
    end;
    if options.predicate is not null then
        hidden := format(
            ' and flagent_cdc.satisfies_predicate(flagent_cdc_row.*, %L, %L)', options.predicate, in_relation
        );
    end if;
    if in_filter is not null then
        if options.visible_columns is null then
            select array_agg(a.attname::text) into visible
              from pg_attribute a
             where a.attrelid = root and a.attnum > 0 and not a.attisdropped;
        else
            visible := flagent_cdc.visible_columns(root, options);
        end if;
        visible := array(select v.name from unnest(visible) v (name) where v.name <> all (coalesce(options.masked_columns, '{}')));
        hidden := hidden || ' and ' || flagent_cdc.filter_condition(in_relation, visible, in_filter);
    end if;
    return query execute format(
        'select case when %1$L <> ''{}'' then flagent_cdc.key_of(i.image, %1$L::text[], flagent_cdc_row.*, %2$L) end, i.image'
        ' from only %3$s flagent_cdc_row cross join lateral (select %4$s as image) i'
        ' where flagent_cdc_row.ctid >= %5$L and flagent_cdc_row.ctid < %6$L%7$s',
        options.key_columns, in_relation, in_relation::regclass, image, format('(%s,0)', in_from),
        format('(%s,0)', in_to), hidden
    ) using in_filter;
end
$$;

revoke all on function flagent_cdc.filtered_rows(integer, oid, bigint, bigint, jsonb) from public;
