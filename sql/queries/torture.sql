-- What `flagent-cdc torture` does to a schema of its own.

-- torture_session: Limits how long a statement may wait for locks and run.
select
    pg_catalog.set_config('lock_timeout', '5s', false),
    pg_catalog.set_config('statement_timeout', '20s', false);

-- torture_write: Writes a mark into a flag, and turns it on or off.
insert into flags (key, description, enabled, created_at)
values (%(key)s, %(mark)s, %(enabled)s, clock_timestamp())
on conflict (key) do update set description = excluded.description, enabled = excluded.enabled;

-- torture_marks: The mark of each flag of a schema.
select f.key, f.description from {flags} f where f.deleted_at is null;

-- torture_drop: Drops a schema with all that is in it.
drop schema if exists {schema} cascade;

-- end_session: Ends one session, as an administrator may.
select pg_catalog.pg_terminate_backend(%(pid)s);

-- end_our_sessions: Ends every other session of this program in this database.
select pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))
from pg_catalog.pg_stat_activity a
where a.datname = pg_catalog.current_database() and a.application_name like 'flagent-cdc%%'
    and a.pid <> pg_catalog.pg_backend_pid();
