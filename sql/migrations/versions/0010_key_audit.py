"""What happens to API keys and with them, and secrets of stream tokens that replace each other."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UPGRADE = """
-- Since when uses of a key are recorded, and the first and the last one. A table of its own: servers read api_key again
-- whenever a row of it changes.
create table flagent_cdc.api_key_use (
    key_id         integer primary key references flagent_cdc.api_key on delete cascade,
    recorded_since timestamptz not null default now(),
    first_used_at  timestamptz,
    last_used_at   timestamptz
);
insert into flagent_cdc.api_key_use (key_id) select k.id from flagent_cdc.api_key k;

-- key_id, prefix and name are those of the key at that time, null where there was none. actor is the role that logged
-- in. No foreign key: an entry outlives its key.
create table flagent_cdc.api_key_audit (
    id          bigint generated always as identity primary key,
    happened_at timestamptz not null default clock_timestamp(),
    action      text not null check (
        action in ('created', 'changed', 'revoked', 'deleted', 'first_used', 'refused', 'secret_rotated')
    ),
    key_id      integer,
    prefix      text,
    name        text,
    actor       text not null default session_user,
    reason      text,
    count       integer not null default 1
);

-- The newest one signs; it verifies from the start, and the one before for another minute.
alter table flagent_cdc.stream_token_secret drop column is_only;
alter table flagent_cdc.stream_token_secret
    add column id integer generated always as identity primary key,
    add column created_at timestamptz not null default now();
"""

DOWNGRADE = """
drop trigger if exists flagent_cdc_810_audit on flagent_cdc.api_key;
drop trigger if exists flagent_cdc_820_audit on flagent_cdc.stream_token_secret;
drop table flagent_cdc.api_key_audit;
drop table flagent_cdc.api_key_use;
delete from flagent_cdc.stream_token_secret s
 where s.id < (select pg_catalog.max(n.id) from flagent_cdc.stream_token_secret n);
alter table flagent_cdc.stream_token_secret drop column id, drop column created_at;
alter table flagent_cdc.stream_token_secret
    add column is_only boolean not null default true primary key check (is_only);
delete from flagent_cdc.installed_object;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
