"""The columns that the rows of watched tables have, to notice when they change."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Null until log_schema_changes() has looked: what they were before is not known then, and nothing is announced.
UPGRADE = """
alter table flagent_cdc.watched_table add column columns jsonb; -- as published_columns() has them
"""

# Earlier versions do not know the operation. The numbers of a commit's changes must stay complete: they get an update
# without rows instead.
DOWNGRADE = """
drop event trigger if exists flagent_cdc_900_note_rewrite;
drop event trigger if exists flagent_cdc_910_log_ddl;
update flagent_cdc.change_log set op = 'update', before = null, after = null where op = 'schema';
update flagent_cdc.lane_change_log set op = 'update', before = null, after = null where op = 'schema';
update flagent_cdc.read_order_log set op = 'update', before = null, after = null where op = 'schema';
alter table flagent_cdc.watched_table drop column columns;
delete from flagent_cdc.installed_object;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
