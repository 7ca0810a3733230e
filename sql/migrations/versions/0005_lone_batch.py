"""A sequence by which a session knows whether its open batch has more than one change."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Its value means something to the session that set it, by currval(), and nothing to any other.
    op.execute("create sequence flagent_cdc.lone_batch minvalue 0 start 0")


def downgrade() -> None:
    op.execute("drop sequence flagent_cdc.lone_batch")
