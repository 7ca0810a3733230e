-- What `flagent-cdc torture` does to a schema of its own.

-- torture_session: Nobody waits for long: conflicts are found out, and what hangs is given up.
select
    pg_catalog.set_config('lock_timeout', '5s', false),
    pg_catalog.set_config('statement_timeout', '20s', false);

-- torture_write: Leaves a mark in a flag, and turns it on or off.
insert into flags (key, description, enabled, created_at)
values (%(key)s, %(mark)s, %(enabled)s, clock_timestamp())
on conflict (key) do update set description = excluded.description, enabled = excluded.enabled;

-- torture_marks: The mark that each flag of a schema has.
select f.key, f.description from {flags} f where f.deleted_at is null;

-- torture_drop: Takes a schema away with all that is in it.
drop schema if exists {schema} cascade;

-- end_session: Ends one session, as an administrator may.
select pg_catalog.pg_terminate_backend(%(pid)s);

-- end_our_sessions: Ends every session of this program's in this database but the one that asks.
select pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))
from pg_catalog.pg_stat_activity a
where a.datname = pg_catalog.current_database() and a.application_name like 'flagent-cdc%%'
    and a.pid <> pg_catalog.pg_backend_pid();
