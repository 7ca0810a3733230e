-- backfill_rows: the rows in some blocks of a watched table, or of a partition of it, as its changes would tell them: with
-- its columns masked and left out, and without what its predicate hides.
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
    options text[];
    image   text := 'to_json(told_row)';
    hidden  text := '';
begin
    select w.options into options from flagent_cdc.watched_table w where w.id = in_id;
    if not exists (select from flagent_cdc.parts_of(root) p (oid) where p.oid = in_relation) then
        raise exception using errcode = 'undefined_table', message = 'this is no part of the table';
    end if;
    if options[5] <> '' then
        image := format(
            'flagent_cdc.told_image(to_json(told_row), %L::text[], %L::text[])',
            flagent_cdc.told_columns(
                root, options[4]::oid, options[5]::text[], options[6]::smallint[], options[8]::text[]
            ),
            options[7]
        );
    end if;
    if options[3] <> '' then
        hidden := format(' and flagent_cdc.satisfies(told_row, %L)', options[3]);
    end if;
    return query execute format(
        'select case when %L <> ''{}'' then flagent_cdc.key_of(i.image, %L::text[]) end, i.image'
        ' from (select %s as image from only %s told_row where told_row.ctid >= %L and told_row.ctid < %L%s) i',
        options[2], options[2], image, in_relation::regclass, format('(%s,0)', in_from), format('(%s,0)', in_to), hidden
    );
end
$$;

revoke all on function flagent_cdc.backfill_rows(integer, oid, bigint, bigint) from public;
