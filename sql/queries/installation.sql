-- Reading and changing the installation: what is installed, what is attached, which roles may run a server.

-- is_installed: whether the schema flagent_cdc is there with all its tables
select to_regclass('flagent_cdc.alembic_version') is not null
   and to_regclass('flagent_cdc.installed_object') is not null as installed;

-- has_schema: whether the schema flagent_cdc exists
select to_regnamespace('flagent_cdc') is not null as present;

-- schemas: the names of all schemas but PostgreSQL's own
select n.nspname
  from pg_namespace n
 where n.nspname <> 'information_schema' and n.nspname not like 'pg\_%%'
 order by n.nspname;

-- revision: the Alembic revision of the tables
select v.version_num
  from flagent_cdc.alembic_version v;

-- attachments: the requested schemas, and since when each is attached; null where Flagent's tables are missing
select a.schema_name, a.attached_at
  from flagent_cdc.attachment a
 order by a.schema_name;

-- lock_installation: waits until no other process installs or uninstalls; held to the end of the transaction
select pg_advisory_xact_lock(x'666c6167656e7469'::bigint);

-- installed_objects: which text of each database object is installed
select o.name, o.sha256
  from flagent_cdc.installed_object o;

-- record_object: records which text of a database object is installed
insert into flagent_cdc.installed_object (name, sha256)
values (%(name)s, %(sha256)s)
on conflict (name) do update set sha256 = excluded.sha256;

-- drop_functions: the statements that drop our functions, and with them all triggers
select 'drop routine if exists ' || p.oid::regprocedure || ' cascade' as statement
  from pg_proc p
 where p.pronamespace = to_regnamespace('flagent_cdc')
 order by p.oid::regprocedure::text;

-- drop_obsolete_functions: the statements that drop our functions other than `functions`, and their triggers on our own tables
-- A trigger on another table would lose its changes: with one, the function cannot be dropped, and the upgrade fails.
with obsolete as (
    select p.oid
      from pg_proc p
     where p.pronamespace = to_regnamespace('flagent_cdc')
       -- those of prepare_predicate()
       and p.proname !~ '^(matches_predicate|predicate_error)_for_[0-9]+$'
       and not exists (
           select from unnest(%(functions)s::text[]) as f (signature) where to_regprocedure(f.signature) = p.oid
       )
)
select format('drop trigger %%I on %%s', t.tgname, t.tgrelid::regclass) as statement, 1 as step
  from pg_trigger t
  join obsolete o on o.oid = t.tgfoid
  join pg_class c on c.oid = t.tgrelid
 where c.relnamespace = to_regnamespace('flagent_cdc') and not t.tgisinternal
union all
select 'drop routine ' || o.oid::regprocedure, 2
  from obsolete o
 order by step, statement;

-- forget_obsolete_objects: removes the records of objects other than `names`
delete from flagent_cdc.installed_object o
 where o.name <> all (%(names)s::text[]);

-- restore_watch_triggers: puts the triggers of watched tables back that a downgrade has dropped
select flagent_cdc.put_watch_triggers(c.oid, w.operations, w.options)
  from flagent_cdc.watched_table w
  join pg_class c on c.oid = (w.options).relation and c.relname = w.table_name
  join pg_namespace n on n.oid = c.relnamespace and n.nspname = w.schema_name
 where flagent_cdc.watched_relation(w.id) is null
   and c.relkind in ('r', 'p')
   and pg_has_role(current_user, c.relowner, 'usage');

-- prepare_predicates: makes the functions that evaluate predicates with the rights of the tables' owners
select flagent_cdc.prepare_predicate(c.oid)
  from flagent_cdc.watched_table w
  join pg_class c on c.oid = flagent_cdc.watched_relation(w.id)
 where w.predicate is not null and pg_has_role(current_user, c.relowner, 'usage');

-- forget_objects: removes the records of all functions and triggers
delete from flagent_cdc.installed_object;

-- attach: captures Flagent's tables of one schema; answers attached, unchanged or pending
select flagent_cdc.attach(%(schema)s) as outcome;

-- detach: stops capturing one schema
select flagent_cdc.detach(%(schema)s);

-- role_exists: whether there is such a role
select exists (select from pg_roles r where r.rolname = %(role)s) as found;

-- grant_runtime: gives a role what the server needs at run time
select flagent_cdc.grant_runtime(%(role)s);

-- grant_again: gives every role that may run a server the rights that it needs now
select flagent_cdc.grant_runtime(r.role_name)
  from flagent_cdc.runtime_role r
  join pg_roles p on p.rolname = r.role_name;

-- drop_everything: removes the schema with all that is in it
drop schema if exists flagent_cdc cascade;

-- watch: watches a table; answers watched, changed or unchanged
select flagent_cdc.watch(
    %(table)s, %(key)s::text[], %(include)s::text[], %(exclude)s::text[], %(mask)s::text[], %(predicate)s,
    %(operations)s::text[], %(lane)s, %(lane_order)s
) as outcome;

-- unwatch: stops watching a table; answers unwatched or unchanged
select flagent_cdc.unwatch(%(table)s) as outcome;

-- watched: every watched table, its options, and what is wrong with its capture
select
    w.schema_name as schema, w.table_name as table, w.key_columns as key, w.included_columns as include,
    w.masked_columns as mask, w.operations, w.predicate, w.lane, w.lane_order as "order", w.problems
from flagent_cdc.watched() w
order by w.schema_name, w.table_name;

-- event_triggers: the enabled event triggers of others as ALTER names them, and the function of each
select quote_ident(e.evtname), e.evtfoid::regproc::text
  from pg_event_trigger e
  join pg_proc p on p.oid = e.evtfoid
 where e.evtenabled <> 'D' and p.pronamespace is distinct from to_regnamespace('flagent_cdc')
 order by e.evtname;
