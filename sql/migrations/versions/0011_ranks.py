"""The order of a group's changes is worked out in memory; columns that held it meanwhile are dropped."""

from alembic import op

from sql.migrations.captured_tables import LOCK

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

UPGRADE = """
alter table flagent_cdc.change_log drop column place_in_order;
alter table flagent_cdc.lane_change_log drop column place_in_order;
alter table flagent_cdc.read_order_log drop column place_in_order;
"""

DOWNGRADE = """
alter table flagent_cdc.read_order_log add column place_in_order bigint;
alter table flagent_cdc.lane_change_log add column place_in_order bigint;
alter table flagent_cdc.change_log add column place_in_order bigint;
delete from flagent_cdc.installed_object;
"""


def upgrade() -> None:
    op.execute(LOCK)
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(LOCK)
    op.execute(DOWNGRADE)
