-- Pruning the change log.

-- prune: Deletes the oldest commits in one step: how many, with how many changes, and whether another session is pruning.
select p.commits, p.changes, p.is_busy
from flagent_cdc.prune(
    pg_catalog.make_interval(secs => %(older_than_s)s::double precision), %(changes)s::bigint, %(limit)s::integer
) p;

-- prune_lanes: Deletes the oldest commits of all lanes other than the flags' in one step each: how many changes.
select flagent_cdc.prune_lanes(
    pg_catalog.make_interval(secs => %(older_than_s)s::double precision), %(limit)s::integer
);

-- prune_lane: Deletes the oldest commits of one of them in one step, however young: how many changes.
select flagent_cdc.prune_lane(%(lane)s::integer, null, %(changes)s::bigint, %(limit)s::integer);

-- lane_log_sizes: The approximate number of changes and bytes in the log of each lane other than the flags'; no row if all of them together are within the limit of one.
-- From a sample of up to some thousand pages, at the size of the newest changes.
with disk as materialized (
    select
        pg_catalog.pg_total_relation_size('flagent_cdc.lane_change_log'::regclass)
            + pg_catalog.pg_total_relation_size('flagent_cdc.lane_change_log_first'::regclass)
            + pg_catalog.pg_total_relation_size('flagent_cdc.lane_commit_log'::regclass)
            + pg_catalog.pg_total_relation_size('flagent_cdc.read_order_log'::regclass) as bytes
),
held as (
    select c.lane, sum(c.changes) / s.share as changes, pg_catalog.count(*) / s.share as commits
    from (
        select least(1.0, 2000 * 8192.0 / greatest(1, pg_catalog.pg_relation_size('flagent_cdc.lane_commit_log'))) as share
    ) s
    cross join lateral (
        select l.lane, l.changes from flagent_cdc.lane_commit_log l tablesample system (100 * s.share)
    ) c
    group by c.lane, s.share
    union all
    select l.lane, pg_catalog.count(*) / s.share, 0
    from (
        select least(1.0, 2000 * 8192.0 / greatest(1, pg_catalog.pg_relation_size('flagent_cdc.read_order_log'))) as share
    ) s
    cross join lateral (
        select l.lane from flagent_cdc.read_order_log l tablesample system (100 * s.share)
    ) l
    group by l.lane, s.share
)
select
    h.lane,
    h.changes::bigint,
    least(d.bytes, h.changes * coalesce(n.change_bytes, 0) + h.commits * 150)::bigint
from disk d
join held h on d.bytes > %(max_bytes)s
join flagent_cdc.lane s on s.id = h.lane
cross join lateral (
    -- as in log_size; a row of read_order_log also holds its commit's columns
    select
        avg(
            g.head_bytes
                + coalesce(pg_catalog.pg_column_size(g.before), 0) + coalesce(pg_catalog.pg_column_size(g.after), 0)
        ) as change_bytes
    from (
        (
            select 120 as head_bytes, g.before, g.after
            from (
                select c.transaction_group
                from flagent_cdc.lane_commit_log c
                where c.lane = h.lane
                order by c.position desc
                limit 200
            ) c
            cross join lateral (
                select g.before, g.after
                from flagent_cdc.lane_change_log g
                where g.transaction_group = c.transaction_group
                limit 5
            ) g
        )
        union all
        (
            select 180, l.before, l.after
            from flagent_cdc.read_order_log l
            where l.lane = h.lane
            order by l.xid desc, l.id desc
            limit 1000
        )
    ) g
) n
order by h.lane;

-- log_size: The approximate number of changes and bytes in the flags' log, by PostgreSQL's statistics and the size of the newest changes.
with held as (
    select
        pg_catalog.pg_stat_get_live_tuples('flagent_cdc.change_log'::regclass)
            + pg_catalog.pg_stat_get_live_tuples('flagent_cdc.change_log_first'::regclass) as changes,
        pg_catalog.pg_stat_get_live_tuples('flagent_cdc.commit_log'::regclass) as commits,
        pg_catalog.pg_total_relation_size('flagent_cdc.change_log'::regclass)
            + pg_catalog.pg_total_relation_size('flagent_cdc.change_log_first'::regclass)
            + pg_catalog.pg_total_relation_size('flagent_cdc.commit_log'::regclass) as bytes_on_disk
),
newest as (
    -- as stored, compressed, with 120 bytes for the row's head, its short columns and its place in the index
    select
        avg(
            120 + coalesce(pg_catalog.pg_column_size(g.before), 0) + coalesce(pg_catalog.pg_column_size(g.after), 0)
        ) as change_bytes
    from (select c.transaction_group from flagent_cdc.commit_log c order by c.position desc limit 200) c
    cross join lateral (
        select g.before, g.after from flagent_cdc.change_log g where g.transaction_group = c.transaction_group limit 5
    ) g
)
select
    h.changes,
    least(h.bytes_on_disk, h.changes * coalesce(n.change_bytes, 0) + h.commits * 150)::bigint
from held h
cross join newest n;

-- set_min_age: Sets the age below which no commit is pruned.
update flagent_cdc.retention r set min_age = pg_catalog.make_interval(secs => %(min_age_s)s::double precision);
