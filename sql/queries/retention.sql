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

-- prune_stream: One batch of the oldest commits of one of them goes, however young: with how many changes.
select flagent_cdc.prune_stream(%(stream)s::integer, null, %(changes)s::bigint, %(limit)s::integer);

-- stream_log_sizes: Of each stream besides that of the flags how many changes its log holds and how many bytes they take, about: as found in a sample of up to some thousand pages, at the size of the newest ones. Nothing where all of them take no more than is allowed for one.
with disk as materialized (
    select
        pg_catalog.pg_total_relation_size('flagent_cdc.stream_change_log'::regclass)
            + pg_catalog.pg_total_relation_size('flagent_cdc.stream_change_log_first'::regclass)
            + pg_catalog.pg_total_relation_size('flagent_cdc.stream_commit_log'::regclass)
            + pg_catalog.pg_total_relation_size('flagent_cdc.horizon_log'::regclass) as bytes
),
held as (
    select c.stream, sum(c.changes) / s.share as changes, pg_catalog.count(*) / s.share as commits
    from (
        select least(1.0, 2000 * 8192.0 / greatest(1, pg_catalog.pg_relation_size('flagent_cdc.stream_commit_log'))) as share
    ) s
    cross join lateral (
        select l.stream, l.changes from flagent_cdc.stream_commit_log l tablesample system (100 * s.share)
    ) c
    group by c.stream, s.share
    union all
    select l.stream, pg_catalog.count(*) / s.share, 0
    from (
        select least(1.0, 2000 * 8192.0 / greatest(1, pg_catalog.pg_relation_size('flagent_cdc.horizon_log'))) as share
    ) s
    cross join lateral (
        select l.stream from flagent_cdc.horizon_log l tablesample system (100 * s.share)
    ) l
    group by l.stream, s.share
)
select
    h.stream,
    h.changes::bigint,
    least(d.bytes, h.changes * coalesce(n.change_bytes, 0) + h.commits * 150)::bigint
from disk d
join held h on d.bytes > %(max_bytes)s
join flagent_cdc.stream s on s.id = h.stream
cross join lateral (
    -- as log_size has it; a row of horizon_log says more of its commit
    select
        avg(
            g.head_bytes
                + coalesce(pg_catalog.pg_column_size(g.before), 0) + coalesce(pg_catalog.pg_column_size(g.after), 0)
        ) as change_bytes
    from (
        (
            select 120 as head_bytes, g.before, g.after
            from (
                select c.batch
                from flagent_cdc.stream_commit_log c
                where c.stream = h.stream
                order by c.position desc
                limit 200
            ) c
            cross join lateral (
                select g.before, g.after from flagent_cdc.stream_change_log g where g.batch = c.batch limit 5
            ) g
        )
        union all
        (
            select 180, l.before, l.after
            from flagent_cdc.horizon_log l
            where l.stream = h.stream
            order by l.xid desc, l.id desc
            limit 1000
        )
    ) g
) n
order by h.stream;

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
