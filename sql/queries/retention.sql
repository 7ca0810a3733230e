-- What happens to the log's old end.

-- prune: One batch of the oldest commits goes: how many, with how many changes, and whether another session is at it.
select p.commits, p.changes, p.is_busy
from flagent_cdc.prune(
    pg_catalog.make_interval(secs => %(older_than_s)s::double precision), %(changes)s::bigint, %(limit)s::integer
) p;

-- prune_streams: One batch of the oldest commits of the other streams goes: with how many changes.
select flagent_cdc.prune_streams(
    pg_catalog.make_interval(secs => %(older_than_s)s::double precision), %(limit)s::integer
);

-- log_size: How many changes the log holds and how many bytes they take, about: as counted by PostgreSQL's statistics, at the size of the newest ones.
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
    from (select c.batch from flagent_cdc.commit_log c order by c.position desc limit 200) c
    cross join lateral (select g.before, g.after from flagent_cdc.change_log g where g.batch = c.batch limit 5) g
)
select
    h.changes,
    least(h.bytes_on_disk, h.changes * coalesce(n.change_bytes, 0) + h.commits * 150)::bigint
from held h
cross join newest n;

-- set_min_age: What is younger than this nobody prunes from now on.
update flagent_cdc.retention r set min_age = pg_catalog.make_interval(secs => %(min_age_s)s::double precision);
