"""What a writer cannot forge: that a partitioned table is being truncated, and the order of its own changes.

And a vacuum of the log that leaves the writers their share, as every other one does.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UPGRADE = """
-- A row stands here from the moment in which TRUNCATE begins with a watched partitioned table until it has emptied the
-- partitions, so only its own transaction ever sees it. See capture_watched_truncate().
create unlogged table flagent_cdc.truncating (relation oid not null, xid bigint not null);

-- The number of the open batch's last change, negative, from the second one on. See log_change().
alter sequence flagent_cdc.lone_batch minvalue -2147483648;

-- At full speed it cost the writers more than the pruning itself.
alter table flagent_cdc.change_log reset (autovacuum_vacuum_cost_delay, toast.autovacuum_vacuum_cost_delay);
alter table flagent_cdc.change_log_first reset (autovacuum_vacuum_cost_delay, toast.autovacuum_vacuum_cost_delay);
alter table flagent_cdc.commit_log reset (autovacuum_vacuum_cost_delay);
alter table flagent_cdc.stream_change_log reset (autovacuum_vacuum_cost_delay, toast.autovacuum_vacuum_cost_delay);
alter table flagent_cdc.stream_change_log_first
    reset (autovacuum_vacuum_cost_delay, toast.autovacuum_vacuum_cost_delay);
alter table flagent_cdc.horizon_log reset (autovacuum_vacuum_cost_delay, toast.autovacuum_vacuum_cost_delay);
alter table flagent_cdc.stream_commit_log reset (autovacuum_vacuum_cost_delay);
"""

DOWNGRADE = """
select pg_catalog.setval('flagent_cdc.lone_batch', 0);
alter sequence flagent_cdc.lone_batch minvalue 0;
drop table flagent_cdc.truncating;
alter table flagent_cdc.change_log set (autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_cost_delay = 0);
alter table flagent_cdc.change_log_first set (autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_cost_delay = 0);
alter table flagent_cdc.commit_log set (autovacuum_vacuum_cost_delay = 0);
alter table flagent_cdc.stream_change_log
    set (autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_cost_delay = 0);
alter table flagent_cdc.stream_change_log_first
    set (autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_cost_delay = 0);
alter table flagent_cdc.horizon_log set (autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_cost_delay = 0);
alter table flagent_cdc.stream_commit_log set (autovacuum_vacuum_cost_delay = 0);
delete from flagent_cdc.installed_object;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
