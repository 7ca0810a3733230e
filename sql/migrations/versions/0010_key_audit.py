"""Secrets of stream tokens that replace each other."""

from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

UPGRADE = """
-- The newest one signs; it verifies from the start, and the one before for another minute.
alter table flagent_cdc.stream_token_secret drop column is_only;
alter table flagent_cdc.stream_token_secret
    add column id integer generated always as identity primary key,
    add column created_at timestamptz not null default now();
"""

DOWNGRADE = """
delete from flagent_cdc.stream_token_secret s
 where s.id < (select pg_catalog.max(n.id) from flagent_cdc.stream_token_secret n);
alter table flagent_cdc.stream_token_secret drop column id, drop column created_at;
alter table flagent_cdc.stream_token_secret
    add column is_only boolean not null default true unique check (is_only);
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
