"""How often clients that evaluate themselves got each variant: counts by minute."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UPGRADE = """
-- variant_key is the empty text where the evaluation gave no variant. No foreign key: the counts of a deleted flag stay
-- until they are pruned.
create table flagent_cdc.exposure (
    minute      timestamptz not null,
    schema_name text        not null,
    flag_key    text        not null,
    variant_key text        not null,
    count       bigint      not null,
    primary key (schema_name, flag_key, minute, variant_key)
);
create index exposure_minute on flagent_cdc.exposure (minute);
"""

DOWNGRADE = """
drop table flagent_cdc.exposure;
drop function if exists flagent_cdc.record_exposures(text[], text[], text[], bigint[], interval);
delete from flagent_cdc.installed_object;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
