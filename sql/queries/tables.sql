-- watched_lanes: Every watched table by its present name, with its lane, the lane's number, 0 for the flags', and its order.
select
    coalesce(n.nspname, w.schema_name), coalesce(c.relname, w.table_name), w.lane, coalesce(s.id, 0), w.lane_order
from flagent_cdc.watched_table w
left join flagent_cdc.lane s on s.name = w.lane
left join pg_catalog.pg_class c on c.oid = flagent_cdc.watched_relation(w.id)
left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where w.lane = 'flags' or s.id is not null
order by 1, 2;

-- captured_tables: Every table whose changes are logged: watched ones with their number, and Flagent's without.
select
    w.id, w.schema_name, w.table_name, w.key_columns, w.included_columns, w.masked_columns, w.operations,
    w.predicate is not null, w.lane, coalesce(s.id, 0), w.lane_order
from flagent_cdc.watched() w
left join flagent_cdc.lane s on s.name = w.lane
union all
select null, a.schema_name, t.table_name, array['id'], null, '{}', array['insert', 'update', 'delete', 'truncate'], false, 'flags', 0, 'commit'
from flagent_cdc.attachment a
cross join pg_catalog.unnest(%(tables)s::text[]) t (table_name)
where a.attached_at is not null
order by 2, 3;

-- table_columns: The columns of a table in their order: name, type, length of a varchar, and whether it may be null.
select a.attname, a.atttypid::bigint, case when a.atttypmod >= 4 then a.atttypmod - 4 end, not a.attnotnull
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = %(table)s and a.attnum > 0 and not a.attisdropped
order by a.attnum;

-- column_types: These types and all types that they contain: the base of a domain, the element of an array, the fields of a row.
-- Each with its name, its kind (b base, c composite, d domain, e enum), base, element, fields as pairs of name and type,
-- labels, and whether a cast to json says how it is rendered.
with recursive reached (oid) as (
    select t.oid from pg_catalog.unnest(%(types)s::bigint[]) t (oid)
    union
    select made_of.oid
    from reached r
    join pg_catalog.pg_type t on t.oid = r.oid
    cross join lateral (
        select t.typbasetype::bigint as oid where t.typtype = 'd'
        union all
        select t.typelem::bigint where t.typcategory = 'A'
        union all
        select f.atttypid::bigint
        from pg_catalog.pg_attribute f
        where t.typtype = 'c' and f.attrelid = t.typrelid and f.attnum > 0 and not f.attisdropped
    ) made_of
)
select
    t.oid::bigint,
    pg_catalog.format_type(t.oid, null),
    case when t.typnamespace = 'pg_catalog'::regnamespace then t.typname::text end,
    t.typtype::text,
    t.typbasetype::bigint,
    case when t.typcategory = 'A' then t.typelem::bigint else 0 end,
    (
        select pg_catalog.json_agg(pg_catalog.json_build_array(f.attname, f.atttypid::bigint) order by f.attnum)
        from pg_catalog.pg_attribute f
        where t.typtype = 'c' and f.attrelid = t.typrelid and f.attnum > 0 and not f.attisdropped
    ),
    (
        select pg_catalog.json_agg(e.enumlabel order by e.enumsortorder)
        from pg_catalog.pg_enum e
        where e.enumtypid = t.oid
    ),
    exists (
        select from pg_catalog.pg_cast c where c.castsource = t.oid and c.casttarget = 'json'::regtype and c.castfunc <> 0
    )
from reached r
join pg_catalog.pg_type t on t.oid = r.oid;

-- backfill_begin: The relations to read for every row of a watched table; the first statement of the reader's transaction.
select b.relation::bigint, b.blocks, b.estimated_rows from flagent_cdc.backfill_begin(%(id)s) b;

-- backfill_rows: The rows in some blocks of a part of a watched table, as JSON text.
select b.key::text, b.row_image::text
from flagent_cdc.backfill_rows(%(id)s, %(relation)s::bigint::oid, %(from)s, %(to)s) b;

-- capture_problems: Why changes of a captured table are not captured, or not all: table and sentence.
select c.table_name, c.problem from flagent_cdc.capture_problems() c;

-- relog_unlogged: Logs the content of unlogged tables that a crash has emptied again; answers their names.
select flagent_cdc.relog_unlogged();
