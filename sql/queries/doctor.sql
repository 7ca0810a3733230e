-- What `flagent-cdc doctor` reads. As much as possible comes from PostgreSQL's own catalogs, so that a role without rights on
-- flagent_cdc can be diagnosed too; nothing is written.

-- doctor_server: The server and the session: standby, encoding, clock, queue, connections, role, installed or not.
select
    pg_catalog.pg_is_in_recovery(),
    (select pg_catalog.pg_encoding_to_char(d.encoding) from pg_catalog.pg_database d where d.datname = current_database()),
    pg_catalog.pg_notification_queue_usage(),
    (select pg_catalog.count(*) from pg_catalog.pg_stat_activity a where a.backend_type = 'client backend'),
    pg_catalog.current_setting('max_connections')::integer,
    current_user::text,
    pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
    pg_catalog.to_regclass('flagent_cdc.installation') is not null;

-- doctor_clock: The server's clock.
select pg_catalog.clock_timestamp();

-- doctor_settings: Settings that matter, as new sessions of this role get them.
select s.name, s.reset_val
from pg_catalog.pg_settings s
where s.name in (
    'fsync', 'full_page_writes', 'synchronous_commit', 'autovacuum', 'idle_session_timeout', 'statement_timeout'
);

-- doctor_replication_role: Where session_replication_role is set, as ALTER names it, and to what.
select
    case
        when d.setrole = 0 then pg_catalog.format('database %I', b.datname)
        when d.setdatabase = 0 then pg_catalog.format('role %I', r.rolname)
        else pg_catalog.format('role %I in database %I', r.rolname, b.datname)
    end,
    pg_catalog.split_part(c.entry, '=', 2)
from pg_catalog.pg_db_role_setting d
cross join lateral pg_catalog.unnest(d.setconfig) as c (entry)
left join pg_catalog.pg_roles r on r.oid = d.setrole
left join pg_catalog.pg_database b on b.oid = d.setdatabase
where c.entry like 'session_replication_role=%'
  and (d.setdatabase = 0 or b.datname = current_database())
union all
select 'system', s.reset_val
from pg_catalog.pg_settings s
where s.name = 'session_replication_role' and s.source in ('configuration file', 'command line')
order by 1;

-- doctor_sessions: Other sessions with an open transaction, the oldest first.
select
    a.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), coalesce(a.state, ''),
    extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::float8
from pg_catalog.pg_stat_activity a
where a.backend_type = 'client backend'
  and a.pid <> pg_catalog.pg_backend_pid()
  and a.xact_start is not null
order by a.xact_start
limit 20;

-- doctor_prepared: Prepared transactions of this database.
select p.gid, p.owner, extract(epoch from pg_catalog.clock_timestamp() - p.prepared)::float8
from pg_catalog.pg_prepared_xacts p
where p.database = current_database()
order by p.prepared;

-- doctor_event_triggers: Event triggers of others that are enabled.
select e.evtname
from pg_catalog.pg_event_trigger e
join pg_catalog.pg_proc p on p.oid = e.evtfoid
where e.evtenabled <> 'D' and p.pronamespace is distinct from pg_catalog.to_regnamespace('flagent_cdc')
order by 1;

-- doctor_functions: Our functions as installed, their owner, and whether the owner may write the log.
select
    p.proname, p.prosrc, p.prosecdef, pg_catalog.pg_get_userbyid(p.proowner),
    pg_catalog.has_schema_privilege(p.proowner, 'flagent_cdc', 'usage')
        and coalesce(pg_catalog.has_table_privilege(p.proowner, r.oid, 'insert'), false)
from pg_catalog.pg_proc p
left join pg_catalog.pg_class r on r.relnamespace = p.pronamespace and r.relname = 'change_log_first'
where p.pronamespace = 'flagent_cdc'::pg_catalog.regnamespace
order by p.proname;

-- doctor_triggers: Every trigger that calls a function of ours or is named like ours.
select
    n.nspname, c.relname, t.tgname, f.nspname || '.' || p.proname, t.tgenabled::text, t.tgtype::integer,
    pg_catalog.encode(t.tgargs, 'escape'), t.tgqual is not null
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_proc p on p.oid = t.tgfoid
join pg_catalog.pg_namespace f on f.oid = p.pronamespace
where not t.tgisinternal
  and (f.nspname = 'flagent_cdc' or t.tgname like 'flagent\_cdc\_%');

-- doctor_attachments: The requested schemas, and whether each is attached.
select a.schema_name, a.attached_at is not null from flagent_cdc.attachment a order by a.schema_name;

-- doctor_tables: Flagent's tables in the given schemas, and the owner of each that the owner of flagent_cdc may not alter.
select
    n.nspname, c.relname,
    case
        when not pg_catalog.pg_has_role(o.nspowner, c.relowner, 'usage') then pg_catalog.pg_get_userbyid(c.relowner)::text
    end
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_namespace o on o.nspname = 'flagent_cdc'
where n.nspname = any (%(schemas)s) and c.relname = any (%(tables)s) and c.relkind in ('r', 'p');

-- doctor_watched: The watched tables, and what is wrong with the capture of each.
select pg_catalog.format('%I.%I', w.schema_name, w.table_name), w.problems
from flagent_cdc.watched() w
order by 1;

-- doctor_watched_relations: The same tables and their partitions, which rightly have triggers of ours.
select n.nspname || '.' || c.relname
from flagent_cdc.watched() w
cross join lateral (
    select pg_catalog.to_regclass(pg_catalog.format('%I.%I', w.schema_name, w.table_name)) as relation
) t
join pg_catalog.pg_class c
    on c.oid = t.relation or c.oid in (select p.relid from pg_catalog.pg_partition_tree(t.relation) p)
join pg_catalog.pg_namespace n on n.oid = c.relnamespace;

-- doctor_owner: Who owns the schema flagent_cdc, and whether that is a superuser.
select r.rolname::text, r.rolsuper
from pg_catalog.pg_namespace n
join pg_catalog.pg_roles r on r.oid = n.nspowner
where n.nspname = 'flagent_cdc';

-- doctor_rights: The rights that a server needs and a role lacks, as GRANT spells them.
with role as (
    select r.oid from pg_catalog.pg_roles r where r.rolname = %(role)s
),
needed as (
    select c.oid, c.relnamespace, pg_catalog.format('%%I.%%I', n.nspname, c.relname) as name
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where (n.nspname = 'flagent_cdc' and c.relname = any (%(own_tables)s))
       or (n.nspname = any (%(schemas)s) and c.relname = any (%(tables)s) and c.relkind in ('r', 'p'))
)
select 'usage on schema ' || n.nspname as lack
from role, pg_catalog.pg_namespace n
where n.oid in (select d.relnamespace from needed d)
  and not pg_catalog.has_schema_privilege(role.oid, n.oid, 'usage')
union all
select 'select on ' || d.name
from role, needed d
where not pg_catalog.has_table_privilege(role.oid, d.oid, 'select')
union all
select 'execute on function ' || p.oid::pg_catalog.regprocedure::text
from role, pg_catalog.pg_proc p
where p.pronamespace = 'flagent_cdc'::pg_catalog.regnamespace
  and p.proname = any (%(functions)s)
  and not pg_catalog.has_function_privilege(role.oid, p.oid, 'execute')
order by 1;

-- doctor_filtered: Tables whose row level security may hide rows from a role.
select pg_catalog.format('%%I.%%I', n.nspname, c.relname)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_roles r on r.rolname = %(role)s
where n.nspname = any (%(schemas)s) and c.relname = any (%(tables)s)
  and c.relrowsecurity
  and not (r.rolsuper or r.rolbypassrls)
  and (c.relforcerowsecurity or not pg_catalog.pg_has_role(r.oid, c.relowner, 'usage'))
order by 1;

-- doctor_role_exists: Whether there is such a role.
select exists (select from pg_catalog.pg_roles r where r.rolname = %(role)s);

-- doctor_revision: The revision of the tables.
select v.version_num from flagent_cdc.alembic_version v;

-- doctor_log: Size, rows, age and newest numbers of the flags' change log.
select
    (
        select pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid))::bigint
        from pg_catalog.pg_class c
        where c.relnamespace = 'flagent_cdc'::pg_catalog.regnamespace
          and c.relname ~ '^(change|commit)_log(_first)?$'
    ),
    (
        select pg_catalog.sum(pg_catalog.pg_stat_get_live_tuples(c.oid))::bigint
        from pg_catalog.pg_class c
        where c.relnamespace = 'flagent_cdc'::pg_catalog.regnamespace
          and c.relname ~ '^change_log(_first)?$'
    ),
    (
        select extract(epoch from pg_catalog.clock_timestamp() - l.committed_at)::float8
        from flagent_cdc.commit_log l
        order by l.position
        limit 1
    ),
    (select coalesce(max(l.position), 0) from flagent_cdc.commit_log l);

-- doctor_lane_logs: The number of lanes other than the flags', and the size and rows of all their logs.
select
    (select pg_catalog.count(*) from flagent_cdc.lane),
    coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint,
    coalesce(
        pg_catalog.sum(pg_catalog.pg_stat_get_live_tuples(c.oid)) filter (where c.relname !~ '_commit_log$'), 0
    )::bigint
from pg_catalog.pg_class c
where c.relnamespace = 'flagent_cdc'::pg_catalog.regnamespace
  and c.relname ~ '^(lane_change_log(_first)?|lane_commit_log|read_order_log)$';

-- doctor_retention: The age of the oldest commit that may be pruned, which the newest never may, and the owner's minimum age.
select
    (
        select extract(epoch from pg_catalog.clock_timestamp() - l.committed_at)::float8
        from flagent_cdc.commit_log l
        where l.position < (select max(n.position) from flagent_cdc.commit_log n)
        order by l.position
        limit 1
    ),
    (select extract(epoch from r.min_age)::float8 from flagent_cdc.retention r);

-- doctor_sequences: The last position drawn, null where it may not be read.
select
    case
        when pg_catalog.has_sequence_privilege(
            pg_catalog.format('%I.%I', q.schemaname, q.sequencename), 'select, usage'
        ) then coalesce(q.last_value, 0)
    end
from pg_catalog.pg_sequences q
where q.schemaname = 'flagent_cdc' and q.sequencename = 'commit_position';

-- doctor_order: Among the newest commits, duplicate positions, and commits older than the one before.
with newest as (
    select l.position, l.committed_at from flagent_cdc.commit_log l order by l.position desc limit 10000
),
compared as (
    select
        n.position = pg_catalog.lag(n.position) over (order by n.position, n.committed_at) as is_double,
        n.committed_at < pg_catalog.lag(n.committed_at) over (order by n.position, n.committed_at) as is_back
    from newest n
)
select pg_catalog.count(*) filter (where c.is_double), pg_catalog.count(*) filter (where c.is_back) from compared c;

-- doctor_unpositioned: Committed changes in the newest part of the log that have no position.
select pg_catalog.count(*)
from flagent_cdc.change_log c
where c.transaction_group > (select max(m.transaction_group) - 100000 from flagent_cdc.change_log m)
  and c.transaction_group >= coalesce(
      (select l.transaction_group from flagent_cdc.commit_log l order by l.position limit 1), 0
  )
  and not exists (select from flagent_cdc.commit_log l where l.transaction_group = c.transaction_group);

-- doctor_vacuum: Dead rows of the log's tables, and whether autovacuum is switched off for one.
select
    c.relname,
    pg_catalog.pg_stat_get_dead_tuples(c.oid),
    exists (
        select from pg_catalog.unnest(c.reloptions) as o (entry)
        where o.entry in ('autovacuum_enabled=false', 'autovacuum_enabled=off', 'autovacuum_enabled=0')
    )
from pg_catalog.pg_class c
where c.relnamespace = 'flagent_cdc'::pg_catalog.regnamespace
  and c.relkind = 'r'
  and c.relname ~ '(change|commit|order)_log(_first)?$'
order by c.relname;

-- doctor_identity: The log's identity, and its newest position.
select flagent_cdc.log_identity(), (select coalesce(max(l.position), 0) from flagent_cdc.commit_log l);
