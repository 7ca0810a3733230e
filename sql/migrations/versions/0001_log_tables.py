"""The log, the installation, and what is attached."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UPGRADE = """
-- Who this log is, and the channel its listeners hear; hard to guess, because any role may notify any channel.
create table flagent_cdc.installation (
    id         uuid primary key default gen_random_uuid(),
    channel    text not null
        default 'flagent_cdc_' || substr(encode(sha256(gen_random_uuid()::text::bytea), 'hex'), 1, 16),
    created_at timestamptz not null default now(),
    is_only    boolean not null default true unique check (is_only)
);
insert into flagent_cdc.installation default values;

-- The schemas whose Flagent tables are watched; attached_at is null while the tables are not there yet.
create table flagent_cdc.attachment (
    schema_name text primary key,
    attached_at timestamptz
);

-- What is installed of sql/objects, so that only changed objects are created again.
create table flagent_cdc.installed_object (
    name   text primary key,
    sha256 text not null
);

-- The roles that may run a server, and the rights they were given outside this schema; table_name '' is the schema.
create table flagent_cdc.runtime_role (
    role_name text primary key
);
create table flagent_cdc.runtime_grant (
    role_name   text not null,
    schema_name text not null,
    table_name  text not null,
    primary key (role_name, schema_name, table_name)
);

create sequence flagent_cdc.change_batch;
-- Positions must grow in commit order across sessions: no session may keep some in stock.
create sequence flagent_cdc.commit_position cache 1;

-- One row per changed row. A batch is what one commit seals, numbered by change_batch; ids count within it from 1.
-- json, not jsonb: capture takes a third less time, and no SQL reads within the rows.
-- No check constraint and no trigger: either is set up again for each single insert, 1 to 3 microseconds per row.
create table flagent_cdc.change_log (
    batch       bigint not null,
    id          integer not null,
    schema_name text not null,
    table_name  text not null,
    op          text not null, -- insert, update, delete, truncate
    key         json,
    before      json,
    after       json,
    primary key (batch, id)
);
-- The first change of each batch stands in this part of the log. Its trigger has the batch sealed at COMMIT, and so
-- the other changes need none.
create table flagent_cdc.change_log_first (
    primary key (batch, id)
) inherits (flagent_cdc.change_log);

-- One row per commit that changed something, in commit order; holes are commits that failed after their sealing.
create table flagent_cdc.commit_log (
    position          bigint primary key,
    batch             bigint not null,
    xid               xid8 not null,
    committed_at      timestamptz not null,
    changes           integer not null,
    session_user_name text not null,
    application_name  text not null
);

-- Sealings put off because SET CONSTRAINTS fired them before COMMIT; without meaning once their transaction has ended.
create unlogged table flagent_cdc.seal_request (
    batch    bigint not null,
    changes  integer,
    asked_at timestamptz not null,
    doubts   integer not null
);

-- Appended at one end, pruned at the other. Vacuum by count, not by share of the table, and do not dawdle:
-- what prune deletes is reused before the files grow, and index-only look-ups find a current visibility map.
alter table flagent_cdc.change_log set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000,
    toast.autovacuum_vacuum_cost_delay = 0
);
alter table flagent_cdc.change_log_first set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000,
    toast.autovacuum_vacuum_cost_delay = 0
);
alter table flagent_cdc.commit_log set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
"""

DOWNGRADE = """
drop table flagent_cdc.seal_request, flagent_cdc.commit_log, flagent_cdc.change_log_first,
    flagent_cdc.change_log, flagent_cdc.runtime_grant,
    flagent_cdc.runtime_role, flagent_cdc.installed_object, flagent_cdc.attachment, flagent_cdc.installation;
drop sequence flagent_cdc.commit_position, flagent_cdc.change_batch;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
