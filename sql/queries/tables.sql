-- watched_lanes: Every watched table by its present name, with its lane, the lane's number, 0 for the flags', its order, and its columns.
-- Of a domain the type below it counts. Texts have the order of their bytes where their collation, or the database's, is
-- "C" by whatever name; PostgreSQL before 15 has neither providers nor locales of databases.
select
    coalesce(n.nspname, w.schema_name), coalesce(c.relname, w.table_name), w.lane, coalesce(s.id, 0), w.lane_order,
    (
        select pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', a.attname,
            'type', pg_catalog.format_type(a.atttypid, null),
            'builtin', case when b.typnamespace = 'pg_catalog'::regnamespace then b.typname end,
            'labels', case when b.typtype = 'e' then (
                select pg_catalog.json_agg(e.enumlabel order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = b.oid
            ) end,
            'is_hidden', a.attname = any (w.masked_columns) or not coalesce(a.attname = any (w.included_columns), true),
            'is_key', a.attname = any (w.key_columns),
            'has_byte_order', coalesce(
                case when l.oid = 'pg_catalog."default"'::regcollation then d.has_byte_order
                     else l.collname in ('C', 'POSIX', 'ucs_basic', 'pg_c_utf8') and l.collnamespace = 'pg_catalog'::regnamespace
                end, false),
            'is_deterministic', coalesce(l.collisdeterministic, true)
        ) order by a.attnum)
        from pg_catalog.pg_attribute a
        cross join lateral (
            with recursive below (oid, base) as (
                select t.oid, t.typbasetype from pg_catalog.pg_type t where t.oid = a.atttypid
                union all
                select t.oid, t.typbasetype from below join pg_catalog.pg_type t on t.oid = below.base
            )
            select t.oid, t.typname, t.typtype, t.typnamespace
            from below join pg_catalog.pg_type t on t.oid = below.oid
            where below.base = 0
        ) b
        left join pg_catalog.pg_collation l on l.oid = a.attcollation
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
    )
from flagent_cdc.watched_table w
left join flagent_cdc.lane s on s.name = w.lane
left join pg_catalog.pg_class c on c.oid = flagent_cdc.watched_relation(w.id)
left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join (
    select case coalesce(pg_catalog.to_jsonb(g) ->> 'datlocprovider', 'c')
               when 'c' then g.datcollate in ('C', 'POSIX')
               when 'b' then true
               else false
           end as has_byte_order
    from pg_catalog.pg_database g
    where g.datname = pg_catalog.current_database()
) d
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

-- backfill_rows: The rows in some blocks of a part of a watched table, as JSON text; those that satisfy a filter, if it is not null.
select b.key::text, b.row_image::text
from flagent_cdc.filtered_rows(%(id)s, %(relation)s::bigint::oid, %(from)s, %(to)s, %(filter)s::jsonb) b;

-- capture_problems: Why changes of a captured table are not captured, or not all: table and sentence.
select c.table_name, c.problem from flagent_cdc.capture_problems() c;

-- relog_unlogged: Logs the content of unlogged tables that a crash has emptied again; answers their names.
select flagent_cdc.relog_unlogged();

-- log_schema_changes: Logs changes of watched tables' columns that are not in the log yet; answers the tables.
select flagent_cdc.log_schema_changes();
