-- backfill_rows: the rows in some blocks of a watched table, or of a partition of it, as its changes would carry them: with
-- its masked columns as null, and without hidden columns and rows.
--
-- Costs:     what is read of the blocks, no more: a range of row addresses needs no index and no sorting.
-- May raise: undefined_table where in_relation is no part of the table.
create or replace function flagent_cdc.backfill_rows(in_id integer, in_relation oid, in_from bigint, in_to bigint)
    returns table (key json, row_image json)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set row_security = off -- an error is better than rows that are silently missing
    as $$
#variable_conflict use_column
declare
    root    oid := flagent_cdc.watched_relation(in_id);
    options flagent_cdc.capture_options;
    image   text := 'to_json(flagent_cdc_row)';
    hidden  text := '';
begin
    select (w.options).* into options from flagent_cdc.watched_table w where w.id = in_id;
    if not exists (select from flagent_cdc.parts_of(root) p (oid) where p.oid = in_relation) then
        raise exception using errcode = 'undefined_table', message = 'this is no part of the table';
    end if;
    if options.visible_columns is not null then
        image := format(
            'flagent_cdc.visible_row(to_json(flagent_cdc_row), %L::text[], %L::text[])',
            flagent_cdc.visible_columns(root, options), options.masked_columns
        );
    end if;
    if options.predicate is not null then
        hidden := format(' and flagent_cdc.matches_predicate(flagent_cdc_row, %L)', options.predicate);
    end if;
    return query execute format(
        'select case when %L <> ''{}'' then flagent_cdc.key_of(i.image, %L::text[]) end, i.image'
        -- A column of the alias's name would take its place.
        ' from (select %s as image from only %s flagent_cdc_row'
        ' where flagent_cdc_row.ctid >= %L and flagent_cdc_row.ctid < %L%s) i',
        options.key_columns, options.key_columns, image, in_relation::regclass, format('(%s,0)', in_from),
        format('(%s,0)', in_to), hidden
    );
end
$$;

revoke all on function flagent_cdc.backfill_rows(integer, oid, bigint, bigint) from public;
