-- What `flagent-cdc torture` does to a schema of its own.

-- torture_begin: For one transaction, which a pool may run in any session: the schema, and how long a statement may wait for locks and run. Returns the process of the session.
select
    pg_catalog.pg_backend_pid(), pg_catalog.set_config('search_path', %(search_path)s, true),
    pg_catalog.set_config('lock_timeout', '5s', true), pg_catalog.set_config('statement_timeout', '20s', true);

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

-- torture_tables: Creates what makes writing hard: triggers that change their own row, before ours and after; foreign keys checked at COMMIT; values that are shown as the session says.
create table torture_parent (id integer primary key, changes integer not null default 0);
insert into torture_parent (id) select n from pg_catalog.generate_series(1, 4) as n;
create table torture_commit (
    id         integer primary key,
    parent_id  integer not null references torture_parent deferrable initially deferred,
    mark       integer not null,
    version    integer not null default 0,
    changed_at timestamptz not null,
    lasted     interval not null,
    data       bytea not null,
    share      double precision not null
);
create table torture_read (
    like torture_commit including all,
    foreign key (parent_id) references torture_parent deferrable initially deferred
);
create function torture_count() returns trigger language plpgsql as $$
begin
    execute pg_catalog.format('update %I.%I set version = version + 1 where id = $1', tg_table_schema, tg_table_name)
    using new.id;
    return null;
end
$$;
create function torture_note() returns trigger language plpgsql as $$
begin
    execute pg_catalog.format(
        'update %I.flags set notes = (coalesce(notes, ''0'')::integer + 1)::text where id = $1', tg_table_schema
    ) using new.id;
    return null;
end
$$;
create function torture_guard() returns trigger language plpgsql as $$
begin
    execute pg_catalog.format(
        'update %I.flags set enabled = false where id = $1 and enabled and description::integer %% 3 = 0', tg_table_schema
    ) using new.id;
    return null;
end
$$;
create trigger a_count after insert or update on torture_commit
    for each row when (pg_catalog.pg_trigger_depth() = 0) execute function torture_count();
create trigger z_count after insert or update on torture_commit
    for each row when (pg_catalog.pg_trigger_depth() = 0) execute function torture_count();
create trigger a_count after insert or update on torture_read
    for each row when (pg_catalog.pg_trigger_depth() = 0) execute function torture_count();
create trigger z_count after insert or update on torture_read
    for each row when (pg_catalog.pg_trigger_depth() = 0) execute function torture_count();
create trigger a_note after insert or update on flags
    for each row when (pg_catalog.pg_trigger_depth() = 0) execute function torture_note();
create trigger z_guard after insert or update on flags
    for each row when (pg_catalog.pg_trigger_depth() = 0) execute function torture_guard();

-- torture_settings: Has the session show values in its own way, until the end of the transaction.
select
    pg_catalog.set_config('TimeZone', %(time_zone)s, true), pg_catalog.set_config('DateStyle', %(date_style)s, true),
    pg_catalog.set_config('IntervalStyle', %(interval_style)s, true),
    pg_catalog.set_config('bytea_output', %(bytea_output)s, true),
    pg_catalog.set_config('extra_float_digits', %(float_digits)s, true);

-- torture_parents: Replaces a row that others refer to: who checks a reference to it at COMMIT, waits for this transaction.
with gone as (delete from torture_parent p where p.id = %(parent)s returning p.changes)
select g.changes from gone g;

-- torture_parent: Puts the row back.
insert into torture_parent (id, changes) values (%(parent)s, %(mark)s) on conflict (id) do nothing;

-- torture_row: Writes a mark into a row of a watched table.
insert into {table} as t (id, parent_id, mark, changed_at, lasted, data, share)
values (
    %(id)s, %(parent)s, %(mark)s, pg_catalog.clock_timestamp(), pg_catalog.make_interval(secs => %(mark)s),
    pg_catalog.int4send(%(mark)s), 1.0 / %(mark)s
)
on conflict (id) do update
set parent_id = excluded.parent_id, mark = excluded.mark, changed_at = excluded.changed_at, lasted = excluded.lasted,
    data = excluded.data, share = excluded.share;

-- torture_delete: Deletes a row of a watched table.
delete from {table} t where t.id = %(id)s;

-- torture_table_rows: The rows of a watched table by their id, as text.
select t.id::text, pg_catalog.to_json(t.*)::text from {table} t;

-- torture_flag_texts: What each flag of a schema is at the end.
select f.key, pg_catalog.json_build_array(f.description, f.enabled, f.notes) from {flags} f where f.deleted_at is null;

-- torture_lane: The number of a lane.
select l.id from flagent_cdc.lane l where l.name = %(name)s;

-- torture_poison_table: Creates a table for values that break readers. The mark comes first in each image.
create table torture_poison (
    id       integer primary key,
    mark     integer not null,
    amount   numeric,
    document json,
    note     text
);

-- torture_poison: Writes a mark into a row, with values that are hard to read.
insert into torture_poison as t (id, mark, amount, document, note)
values (
    %(id)s, %(mark)s, %(amount)s::text::numeric, %(document)s::text::json,
    pg_catalog.repeat('x', %(length)s::integer)
)
on conflict (id) do update
set mark = excluded.mark, amount = excluded.amount, document = excluded.document, note = excluded.note;

-- torture_poison_delete: Deletes a row.
delete from torture_poison t where t.id = %(id)s;

-- torture_poison_marks: The mark of each row, null where the row is too large to be delivered.
select t.id, case when pg_catalog.length(t.note) < 4000000 then t.mark end from {table} t;
