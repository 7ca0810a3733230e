-- The logs of lanes ordered when read: what log.sql reads of the others.
--
-- A reader returns only transactions below the horizon, the oldest one still running: all of them have ended, so that none
-- can appear later and come before one that was read. A position is a transaction's id.

-- read_pruned_to: As commit_pruned_to. A value at or above the horizon was restored from a cluster further on, and is not part of this log.
select case
    when s.pruned_to < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint then s.pruned_to
    else 0
end
from flagent_cdc.lane s
where s.id = %(lane)s;

-- read_log_state: As log_state, and whether visible commits wait for the horizon.
with horizon as materialized (
    select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint as xid
)
select
    flagent_cdc.log_identity() || 's' || s.id,
    s.channel,
    case when newest.xid is not null then ({pruned_to}) + 1 end,
    newest.xid,
    pg_catalog.to_char(newest.changed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    newest.xid,
    exists (
        select
        from flagent_cdc.read_order_log l
        where l.lane = s.id and l.xid >= h.xid and l.origin = 'flagent_cdc.read_order_log'::regclass
    )
from flagent_cdc.lane s
cross join horizon h
left join lateral (
    select l.xid, l.changed_at
    from flagent_cdc.read_order_log l
    where l.lane = s.id and l.xid < h.xid and l.origin = 'flagent_cdc.read_order_log'::regclass
    order by l.xid desc, l.id desc
    limit 1
) newest on true
where s.id = %(lane)s;

-- read_newest_position: As newest_position, below the horizon.
select coalesce((
    select l.xid
    from flagent_cdc.read_order_log l
    where l.lane = %(lane)s
      and l.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint
      and l.origin = 'flagent_cdc.read_order_log'::regclass
    order by l.xid desc
    limit 1
), 0);

-- read_commit_stamp: As commit_stamp.
select pg_catalog.to_char(l.changed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), l.xid
from flagent_cdc.read_order_log l
where l.lane = %(lane)s and l.xid = %(position)s and l.origin = 'flagent_cdc.read_order_log'::regclass
order by l.id desc
limit 1;

-- read_commits_after: As commits_after, below the horizon; a commit's time and its number of changes are the time and the sequence of its last change.
with page as materialized (
    select l.xid, l.id
    from flagent_cdc.read_order_log l
    where l.lane = %(lane)s
      and l.xid > %(position)s
      and l.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint
      and l.origin = 'flagent_cdc.read_order_log'::regclass
    order by l.xid, l.id
    limit %(limit)s
),
-- The last commit of a full page may continue beyond it: it is left to the next page, unless it is the only one.
commits as materialized (
    select p.xid
    from page p
    group by p.xid
    having p.xid < (select max(q.xid) from page q)
        or (select count(*) from page q) < %(limit)s
        or p.xid = (select min(q.xid) from page q)
)
{commit_rows}
order by l.xid, l.id;

-- read_commits_before: As commits_before.
with page as materialized (
    select l.xid
    from flagent_cdc.read_order_log l
    where l.lane = %(lane)s
      and l.xid <= %(position)s and l.xid > %(down_to)s
      and l.origin = 'flagent_cdc.read_order_log'::regclass
    order by l.xid desc, l.id desc
    limit %(limit)s
),
commits as materialized (
    select p.xid
    from page p
    group by p.xid
    having p.xid > (select min(q.xid) from page q)
        or (select count(*) from page q) < %(limit)s
        or p.xid = (select max(q.xid) from page q)
)
{commit_rows}
order by l.xid desc, l.id;

-- read_commit_rows: The first `most` changes of each of `commits`, as in commits_after.
select
    l.xid, pg_catalog.to_char(last.changed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    l.xid, l.session_user_name, l.application_name, last.id, l.id,
    l.schema_name, l.table_name, l.op, l.before, l.after, l.key
from commits c
cross join lateral ({last}) last
cross join lateral ({first_changes}) l;

-- read_last: The last change of a commit `c`.
select m.id, m.changed_at
from flagent_cdc.read_order_log m
where m.lane = %(lane)s and m.xid = c.xid and m.origin = 'flagent_cdc.read_order_log'::regclass
order by m.id desc
limit 1;

-- read_first_changes: The first `most` changes of a commit `c`.
select
    m.xid, m.id, m.session_user_name, m.application_name, m.schema_name, m.table_name, m.op, m.before, m.after, m.key
from flagent_cdc.read_order_log m
where m.lane = %(lane)s and m.xid = c.xid and m.origin = 'flagent_cdc.read_order_log'::regclass
order by m.id
limit %(most)s;

-- read_commit_part: As commit_part; the number of a change is its sequence.
select
    l.xid, pg_catalog.to_char(last.changed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    l.xid, l.session_user_name, l.application_name, last.id, l.id,
    l.schema_name, l.table_name, l.op, l.before, l.after, l.key
from (select %(position)s::bigint as xid) c
cross join lateral ({last}) last
join flagent_cdc.read_order_log l
  on l.lane = %(lane)s and l.xid = c.xid and l.id > %(index)s and l.origin = 'flagent_cdc.read_order_log'::regclass
order by l.id
limit %(limit)s;

-- read_log_reach: As log_reach; then the horizon, and this transaction's snapshot if it sees changes at or above it.
with horizon as materialized (
    select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint as xid
)
select
    flagent_cdc.log_identity() || 's' || s.id,
    case when newest.xid is not null then ({pruned_to}) + 1 end,
    pg_catalog.to_char(oldest.changed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    coalesce(newest.xid, 0),
    pg_catalog.to_char(pg_catalog.clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    pg_catalog.current_database(),
    h.xid,
    case when exists (
        select
        from flagent_cdc.read_order_log l
        where l.lane = s.id and l.xid >= h.xid and l.origin = 'flagent_cdc.read_order_log'::regclass
    ) then pg_catalog.pg_current_snapshot()::text end
from flagent_cdc.lane s
cross join horizon h
left join lateral (
    select l.xid
    from flagent_cdc.read_order_log l
    where l.lane = s.id and l.xid < h.xid and l.origin = 'flagent_cdc.read_order_log'::regclass
    order by l.xid desc, l.id desc
    limit 1
) newest on true
left join lateral (
    select l.xid
    from flagent_cdc.read_order_log l
    where l.lane = s.id and l.xid > ({pruned_to}) and l.xid < h.xid
      and l.origin = 'flagent_cdc.read_order_log'::regclass
    order by l.xid, l.id
    limit 1
) first on true
left join lateral (
    select l.changed_at
    from flagent_cdc.read_order_log l
    where l.lane = s.id and l.xid = first.xid and l.origin = 'flagent_cdc.read_order_log'::regclass
    order by l.id desc
    limit 1
) oldest on true
where s.id = %(lane)s;

-- read_scanned: As scanned, below the horizon. The number of a change is its sequence, `changes` that of the commit's last one.
-- Changes that the snapshot `seen` includes are not wanted; null is no snapshot.
with page as materialized (
    select l.xid, l.id, l.session_user_name, l.application_name, l.schema_name, l.table_name, l.op, l.key, l.before, l.after
    from flagent_cdc.read_order_log l
    where l.lane = %(lane)s
      and (l.xid, l.id) > (%(position)s, %(index)s)
      and l.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint
      and l.origin = 'flagent_cdc.read_order_log'::regclass
    order by l.xid, l.id
    limit %(scan)s
),
ends as materialized (
    select c.xid, last.id, last.changed_at
    from (select distinct p.xid from page p) c
    cross join lateral ({last}) last
)
select
    d.xid as position, e.changed_at as committed_at, d.xid, d.session_user_name, d.application_name, e.id as changes,
    d.id, d.schema_name, d.table_name, d.op, d.key, d.before, d.after,
    (
        %(tables)s::text[] is null or named.table_name = any (%(tables)s::text[])
            or named.schema_name || '.' || named.table_name = any (%(tables)s::text[])
    ) and (
        %(seen)s::text is null
        or not pg_catalog.pg_visible_in_snapshot(d.xid::text::xid8, %(seen)s::text::pg_catalog.pg_snapshot)
    ) as is_wanted
from page d
join ends e on e.xid = d.xid
cross join lateral (
    -- As clients write them: a name with a dot or a quote is quoted.
    select
        case when d.schema_name ~ '[."]' then '"' || pg_catalog.replace(d.schema_name, '"', '""') || '"' else d.schema_name end as schema_name,
        case when d.table_name ~ '[."]' then '"' || pg_catalog.replace(d.table_name, '"', '""') || '"' else d.table_name end as table_name
) named;
