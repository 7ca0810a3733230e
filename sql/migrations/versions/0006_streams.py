"""Streams of their own for tables with heavy writes."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UPGRADE = """
-- The streams besides that of the flags, which has the number 0 and is not in here. mode notify: commits of the stream
-- are put in order by a lock of its own, numbered by a sequence of its own, stream_<id>_position, and announced on
-- its channel. mode horizon: nothing of that; the readers of the log order it.
create table flagent_cdc.stream (
    id         integer generated always as identity primary key,
    name       text not null unique,
    mode       text not null,
    channel    text not null
        default 'flagent_cdc_' || substr(encode(sha256(gen_random_uuid()::text::bytea), 'hex'), 1, 16),
    pruned_to  bigint not null default 0, -- the last position that is no longer in its log
    created_at timestamptz not null default now()
);

-- As change_log, change_log_first, commit_log and seal_request, for streams of mode notify. xid is the transaction that
-- opened the batch, by which a later change of it knows that it belongs there.
create sequence flagent_cdc.stream_batch;
create table flagent_cdc.stream_change_log (
    batch       bigint not null,
    id          integer not null,
    schema_name text not null,
    table_name  text not null,
    op          text not null,
    key         json,
    before      json,
    after       json,
    primary key (batch, id)
);
create table flagent_cdc.stream_change_log_first (
    stream integer not null,
    xid    bigint not null,
    primary key (batch, id)
) inherits (flagent_cdc.stream_change_log);
create unlogged table flagent_cdc.stream_seal_request (
    batch    bigint not null,
    stream   integer not null,
    changes  integer not null,
    asked_at timestamptz not null,
    doubts   integer not null
);
create table flagent_cdc.stream_commit_log (
    stream            integer not null,
    position          bigint not null,
    batch             bigint not null,
    xid               xid8 not null,
    committed_at      timestamptz not null,
    changes           integer not null,
    session_user_name text not null,
    application_name  text not null,
    primary key (stream, position)
);

-- Changes of the streams of mode horizon, in the order of their transactions' ids, and within one in that of id, which
-- also orders all changes of one row. origin is this table's oid: in a restored database the transactions of what was
-- restored say nothing.
create sequence flagent_cdc.horizon_change cache 1;
create table flagent_cdc.horizon_log (
    stream            integer not null,
    xid               bigint not null,
    id                bigint not null,
    origin            oid not null,
    changed_at        timestamptz not null,
    session_user_name text not null,
    application_name  text not null,
    schema_name       text not null,
    table_name        text not null,
    op                text not null,
    key               json,
    before            json,
    after             json,
    primary key (stream, xid, id)
);

alter table flagent_cdc.stream_change_log set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000,
    toast.autovacuum_vacuum_cost_delay = 0
);
alter table flagent_cdc.stream_change_log_first set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000,
    toast.autovacuum_vacuum_cost_delay = 0
);
alter table flagent_cdc.horizon_log set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000,
    toast.autovacuum_vacuum_cost_delay = 0
);
alter table flagent_cdc.stream_commit_log set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);

-- Roles that may run a server already; those to come are granted by grant_runtime().
do $$
declare
    role text;
begin
    for role in
        select r.role_name
          from flagent_cdc.runtime_role r
          join pg_catalog.pg_roles p on p.rolname = r.role_name
    loop
        execute pg_catalog.format(
            'grant select on table flagent_cdc.stream, flagent_cdc.stream_change_log, flagent_cdc.stream_commit_log,'
            ' flagent_cdc.horizon_log to %I',
            role
        );
    end loop;
end
$$;
"""

# Tables that are watched in a stream of their own would have nowhere to go. Their triggers go with the functions, in
# the same transaction: these are of a later version, and must not be called here.
DOWNGRADE = """
delete from flagent_cdc.watched_table where stream <> 'flags';
do $$
declare
    stream integer;
begin
    for stream in select s.id from flagent_cdc.stream s where s.mode = 'notify' loop
        execute pg_catalog.format('drop sequence flagent_cdc.%I', 'stream_' || stream || '_position');
    end loop;
end
$$;
drop table flagent_cdc.horizon_log, flagent_cdc.stream_seal_request, flagent_cdc.stream_commit_log,
    flagent_cdc.stream_change_log_first, flagent_cdc.stream_change_log, flagent_cdc.stream cascade;
drop sequence flagent_cdc.horizon_change, flagent_cdc.stream_batch;
delete from flagent_cdc.installed_object;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
