-- watched: every watched table with its present name, its options, and what is wrong with its capture.
--
-- key_columns is empty where the whole row is the key; included_columns is null where all columns are published, else the
-- names that were chosen. problems is empty where all is well, else sentences for people.
create or replace function flagent_cdc.watched() returns table (
    id integer, schema_name text, table_name text, key_columns text[], included_columns text[], masked_columns text[],
    operations text[], predicate text, lane text, lane_order text, watched_at timestamptz, problems text[]
)
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
#variable_conflict use_column
declare
    one      flagent_cdc.watched_table;
    relation oid;
    columns  text[];
    visible  text[];
    again    constant text := ': watch it again';
begin
    for one in select w.* from flagent_cdc.watched_table w order by w.schema_name, w.table_name, w.id loop
        id := one.id;
        schema_name := one.schema_name;
        table_name := one.table_name;
        key_columns := one.key_columns;
        included_columns := one.included_columns;
        masked_columns := one.masked_columns;
        operations := one.operations;
        predicate := one.predicate;
        lane := one.lane;
        lane_order := one.lane_order;
        watched_at := one.watched_at;
        problems := '{}';
        relation := flagent_cdc.watched_relation(one.id);
        if relation is null then
            problems := problems || case
                when to_regclass(format('%I.%I', one.schema_name, one.table_name)) is null then 'the table is gone'
                else 'the triggers are gone' || again
            end;
            return next;
            continue;
        end if;

        select n.nspname, c.relname into schema_name, table_name
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where c.oid = relation;
        columns := array(
            select a.attname::text
              from pg_attribute a
             where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
             order by a.attnum
        );
        problems := problems || array(
            select format('the trigger %s is disabled', t.tgname) || again
              from pg_trigger t
             where t.tgrelid = relation and t.tgname ~ '^flagent_cdc_[0-9]+_watch$' and t.tgenabled <> 'A'
             order by t.tgname
        ) || array(
            select format('the column %s of the key is gone, so that changes carry no key', k.name) || again
              from unnest(one.key_columns) with ordinality as k (name, number)
             where k.name <> all (columns)
             order by k.number
        ) || array(
            select format('the masked column %s is gone; under any other name it is not published', m.name)
              from unnest(one.masked_columns) with ordinality as m (name, number)
             where m.name <> all (columns)
             order by m.number
        );
        if (one.options).visible_columns is not null then
            visible := flagent_cdc.visible_columns(relation, one.options);
            problems := problems || array(
                select format('the column %s is not the one that was watched and is no longer published', o.name) || again
                  from unnest((one.options).visible_columns) with ordinality as o (name, number)
                 where o.name <> all (visible)
                 order by o.number
            ) || array(
                select format('the column %s was added later and is not published', c.name) || again
                  from unnest(columns) with ordinality as c (name, number)
                 where c.name <> all ((one.options).known_columns)
                 order by c.number
            );
        end if;
        problems := problems || array(
            select format('truncating the partition %s would not be captured', p.relid) || again
              from pg_partition_tree(relation) p
             where p.parentrelid is not null
               and 'truncate' = any (one.operations)
               and not exists (
                   select from pg_trigger t
                    where t.tgrelid = p.relid and t.tgname = 'flagent_cdc_250_watch' and t.tgenabled = 'A'
               )
             order by p.relid::regclass::text
        );
        problems := problems || array(
            select format('%s is unlogged: a crash of PostgreSQL empties it; alter table ... set logged', p.oid::regclass)
              from flagent_cdc.parts_of(relation) p (oid)
              join pg_class c on c.oid = p.oid
             where c.relpersistence = 'u'
             order by p.oid::regclass::text
        );
        problems := array_remove(problems || flagent_cdc.compile_error(relation, one.predicate), null);
        return next;
    end loop;
end
$$;

revoke all on function flagent_cdc.watched() from public;
