"""Changes grouped by their transaction's id, with the places of row versions; one table that puts COMMIT's work last.

A session's sequences stay its own: groups, numbers and positions are drawn without `nextval`. The places of the row
versions put the changes of a row into their order, whichever trigger logged them first.
"""

from alembic import op

from sql.migrations.captured_tables import LOCK

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UPGRADE = """
drop trigger if exists flagent_cdc_900_assign_position on flagent_cdc.change_log_first;
drop trigger if exists flagent_cdc_920_assign_position on flagent_cdc.lane_change_log_first;
drop table flagent_cdc.deferred_commit, flagent_cdc.lane_deferred_commit;
drop sequence flagent_cdc.transaction_group, flagent_cdc.last_change_number, flagent_cdc.lane_transaction_group,
    flagent_cdc.read_order_change;

-- What puts the changes of a row into their order, whichever was logged first; see order_group().
--   relation        the table or the partition of the row
--   old_place       where the row's version before the change is stored, and new_place the one after it: the new place
--                   of a change is the old place of the row's next one. Null for an update of Flagent's tables by a
--                   statement of the client, and for changes logged by an earlier version
--   depth           how many triggers deep the change was made: 1 for a statement of the client
--   has_nested      whether the group has a deeper change up to here; null closes the group
--   is_own          whether the version before the change was made by the same transaction; only for deeper changes
--   place_in_order  only while order_group() works: where a change belongs, in a finer measure than its number
alter table flagent_cdc.change_log
    add column relation oid, add column old_place tid, add column new_place tid, add column depth smallint,
    add column has_nested boolean default false, add column is_own boolean, add column place_in_order bigint;
alter table flagent_cdc.lane_change_log
    add column relation oid, add column old_place tid, add column new_place tid, add column depth smallint,
    add column has_nested boolean default false, add column place_in_order bigint;
alter table flagent_cdc.lane_change_log_first drop column xid;
alter table flagent_cdc.read_order_log
    add column relation oid, add column old_place tid, add column new_place tid, add column depth smallint,
    add column place_in_order bigint;

-- Row versions that a trigger of the writer's made and that are not logged, because nothing changed or a predicate
-- hides them: the changes before and after them belong together. Without meaning when their transaction has ended; the
-- pruner deletes them.
create unlogged table flagent_cdc.unlogged_version (
    xid       xid8 not null,
    relation  oid not null,
    old_place tid not null,
    new_place tid not null
);
create index unlogged_version_xid_idx on flagent_cdc.unlogged_version (xid);
alter table flagent_cdc.unlogged_version replica identity full;

-- The captured unlogged relations whose content agrees with the log: a crash empties this table with them; see
-- relog_unlogged().
create unlogged table flagent_cdc.unlogged_content (
    relation oid primary key
);

-- A row for each time that a group's position was deferred to a later round of COMMIT's triggers; see
-- is_last_of_commit().
-- Without meaning when its transaction has ended; the pruner deletes it. writes counts the rows that COMMIT's own work
-- has written in the transaction.
create unlogged table flagent_cdc.deferred_commit (
    transaction_group bigint not null,
    lane              integer not null, -- 0: the flags' lane
    xid               xid8 not null,
    writes            integer not null, -- its number among the rows that this transaction has written here
    requested_at      timestamptz,      -- the statement that fired the trigger before COMMIT; null at COMMIT
    deferrals         integer not null  -- by that statement; -1: the row only finds out whether anything was written
);
alter table flagent_cdc.deferred_commit replica identity full;

-- As a row of deferred_commit that only finds out whether anything was written, for a single change of flags: without
-- triggers, an insert takes half the time.
create unlogged table flagent_cdc.commit_probe (xid xid8 not null);
alter table flagent_cdc.commit_probe replica identity full;
alter table flagent_cdc.truncating replica identity full;

-- A publication for all tables refuses to change a table without a key.
alter table flagent_cdc.retention drop constraint retention_is_only_key, add primary key (is_only);
alter table flagent_cdc.stream_token_secret drop constraint stream_token_secret_is_only_key, add primary key (is_only);
"""

DOWNGRADE = """
drop trigger if exists flagent_cdc_910_assign_position on flagent_cdc.deferred_commit;
drop trigger if exists flagent_cdc_900_assign_position on flagent_cdc.change_log_first;
drop trigger if exists flagent_cdc_920_assign_position on flagent_cdc.lane_change_log_first;
drop table flagent_cdc.deferred_commit, flagent_cdc.commit_probe, flagent_cdc.unlogged_version,
    flagent_cdc.unlogged_content;
alter table flagent_cdc.stream_token_secret drop constraint stream_token_secret_pkey, add unique (is_only);
alter table flagent_cdc.retention drop constraint retention_pkey, add unique (is_only);
alter table flagent_cdc.read_order_log
    drop column relation, drop column old_place, drop column new_place, drop column depth, drop column place_in_order;
alter table flagent_cdc.lane_change_log_first
    add column xid bigint constraint stream_change_log_first_xid_not_null not null default 0;
alter table flagent_cdc.lane_change_log_first alter column xid drop default;
alter table flagent_cdc.lane_change_log
    drop column relation, drop column old_place, drop column new_place, drop column depth, drop column has_nested,
    drop column place_in_order;
alter table flagent_cdc.change_log
    drop column relation, drop column old_place, drop column new_place, drop column depth, drop column has_nested,
    drop column is_own, drop column place_in_order;

-- Behind all numbers in use. Groups of this revision are above 2^57, those of the earlier ones stay below: behind the
-- highest of these, a later upgrade would find the number of a transaction taken, and at 2^63 there is no further one.
create sequence flagent_cdc.transaction_group;
select pg_catalog.setval('flagent_cdc.transaction_group', max(c.transaction_group))
  from flagent_cdc.change_log c
 where c.transaction_group < 1::bigint operator(pg_catalog.<<) 57
having max(c.transaction_group) is not null;
create sequence flagent_cdc.lane_transaction_group;
select pg_catalog.setval('flagent_cdc.lane_transaction_group', max(c.transaction_group))
  from flagent_cdc.lane_change_log c
 where c.transaction_group < 1::bigint operator(pg_catalog.<<) 57
having max(c.transaction_group) is not null;
create sequence flagent_cdc.last_change_number minvalue -2147483648 start 0;
create sequence flagent_cdc.read_order_change cache 1;
select pg_catalog.setval('flagent_cdc.read_order_change', max(l.id)) from flagent_cdc.read_order_log l
having max(l.id) is not null;
-- Their constraints have the names that they had there, which are those of yet earlier revisions.
create unlogged table flagent_cdc.deferred_commit (
    transaction_group bigint constraint seal_request_batch_not_null not null,
    changes           integer,
    requested_at      timestamptz constraint seal_request_asked_at_not_null not null,
    deferrals         integer constraint seal_request_doubts_not_null not null
);
create unlogged table flagent_cdc.lane_deferred_commit (
    transaction_group bigint constraint stream_seal_request_batch_not_null not null,
    lane              integer constraint stream_seal_request_stream_not_null not null,
    changes           integer constraint stream_seal_request_changes_not_null not null,
    requested_at      timestamptz constraint stream_seal_request_asked_at_not_null not null,
    deferrals         integer constraint stream_seal_request_doubts_not_null not null
);
alter table flagent_cdc.truncating replica identity default;
delete from flagent_cdc.installed_object;
"""


def upgrade() -> None:
    op.execute(LOCK)
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(LOCK)
    op.execute(DOWNGRADE)
